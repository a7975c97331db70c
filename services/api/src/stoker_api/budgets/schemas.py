"""What is said about budgets."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from stoker_api.plans.schemas import ProjectName


class NewLimit(BaseModel):
    """A limit in dollars; null takes it away."""

    model_config = ConfigDict(extra="forbid")

    limit_usd: Annotated[Decimal, Field(ge=0, le=1_000_000, description='US dollars, such as "12.50"')] | None


class NewProjectLimit(NewLimit):
    """A limit of one of your projects. A project need not be made: it is what jobs name."""

    project: ProjectName
