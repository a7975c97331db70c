"""The one-call launch."""

from pydantic import BaseModel, Field

from stoker_api.jobs.schemas import Job
from stoker_api.plans.schemas import Dollars, Environment, Fault, NewPlan, PlanLimits
from stoker_shared.identifiers import Identifier
from stoker_shared.web.problems import Problem


class DeployRequest(PlanLimits):
    """What is to be trained. `training_config_id` is the id of a saved recipe."""

    training_config_id: Identifier
    environment_variables: Environment = Field(default_factory=dict)
    budget_limit: Dollars | None = None
    priority: int = Field(default=0, ge=-10, le=10, description="Of jobs that wait, higher ones begin first")

    def plan_for(self, provider: str) -> NewPlan:
        """The plan that this asks for."""
        return NewPlan(
            dataset_version_id=self.dataset_version_id,
            gpu_type=self.gpu_type,
            gpu_count=self.gpu_count,
            docker_image=self.docker_image,
            volume_size_gb=self.volume_size_gb,
            keep_alive_seconds=self.keep_alive_seconds,
            project=self.project,
            max_price_usd_per_hour=self.max_price_usd_per_hour,
            recipe_id=self.training_config_id,
            provider=provider,
            budget_usd=self.budget_limit,
            environment=self.environment_variables,
            secrets=self.secrets,
        )


class Deployed(BaseModel):
    """The job that was launched, and the plan that it runs."""

    job: Job
    plan_id: str
    plan_hash: str
    warnings: list[Fault]


class DeployBlocked(Problem):
    """The plan has faults; nothing was launched. The plan is stored and can be read."""

    plan_id: str
    blocking: list[Fault]
