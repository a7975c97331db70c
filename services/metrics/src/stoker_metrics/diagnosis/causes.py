"""The table of causes. Of equals the earlier one is told first."""

from stoker_metrics.diagnosis.access import ACCESS
from stoker_metrics.diagnosis.cause import Cause
from stoker_metrics.diagnosis.data import DATA
from stoker_metrics.diagnosis.machines import MACHINES
from stoker_metrics.diagnosis.resources import RESOURCES
from stoker_metrics.diagnosis.software import SOFTWARE

CAUSES: tuple[Cause, ...] = (*RESOURCES, *DATA, *ACCESS, *SOFTWARE, *MACHINES)
