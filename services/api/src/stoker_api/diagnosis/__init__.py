"""Why a job failed, and plans that would do better."""
