"""What a job's machine reported: points, lines, raw output."""
