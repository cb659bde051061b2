"""The emulated cloud providers: regions, instances and storages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..models import Architecture, JobPriority
from ..models import RescaleRegion as Region

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_REGION: Final = Region.AWS_US_EAST_1.value
# The start of the names of storages.
STORAGE_PREFIX: Final = "emulator-"
# The address of the registry, with an account number that does not exist.
REGISTRY: Final = "000000000000.dkr.ecr.us-east-1.amazonaws.com/rescale"
# UNASSIGNED is not a real region.
ENABLED_REGIONS: Final = tuple(region.value for region in Region if region != Region.UNASSIGNED)


class Machine(NamedTuple):
    """A machine type."""

    cloud: str
    architecture: Architecture
    vcpus: int
    memory_gib: int


MACHINES: Final[Mapping[str, Machine]] = {
    "c7g.medium": Machine("AWS", Architecture.AARCH64, 1, 2),
    "c7i.2xlarge": Machine("AWS", Architecture.X86, 8, 16),
    "t2d-standard-16": Machine("GCP", Architecture.X86, 16, 64),
    "a2-highgpu-1g": Machine("GCP", Architecture.A100, 12, 85),
}


def cloud_provider(region: str) -> str:
    """The cloud provider of a region, which is the prefix of its name."""
    return region.partition("_")[0]


def region_settings(region: str, updated_at: str) -> dict[str, Any]:
    """The record of a region's settings."""
    cloud = cloud_provider(region)
    architectures = {
        machine.architecture for machine in MACHINES.values() if machine.cloud == cloud
    }
    return {
        "region": region,
        "enabled": region in ENABLED_REGIONS,
        "weight": 1,
        "updatedAt": updated_at,
        "supportedArchitectures": sorted(architectures or {Architecture.X86}),
        "cloudProvider": cloud,
    }


def storage_name(region: str) -> str:
    """The name of a region's storage."""
    return f"{STORAGE_PREFIX}{region.lower().replace('_', '-')}"


def storage_option(region: str) -> dict[str, Any]:
    """The record of a region's storage."""
    return {
        "storageName": storage_name(region),
        "region": region,
        "provider": cloud_provider(region),
    }


def describe_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a computing environment, with the attributes of its machine type."""
    machine = MACHINES.get(environment.get("machineType", ""))
    derived = machine and {
        "architecture": machine.architecture,
        "vCPUs": machine.vcpus,
        "memory": machine.memory_gib,
        "swap": False,
    }
    names = ("machineType", "priority", "region", "computeScalingPolicy", "hyperthreading")
    return {"derived": derived, **{name: environment.get(name) for name in names}}


def all_environments() -> list[dict[str, Any]]:
    """All machine types with all priorities in all regions of their cloud provider."""
    return [
        describe_environment({"machineType": name, "priority": priority, "region": region})
        for name, machine in MACHINES.items()
        for region in ENABLED_REGIONS
        if cloud_provider(region) == machine.cloud
        for priority in JobPriority
    ]


def gcp_clusters() -> dict[str, Any]:
    """The record of the Google Cloud clusters, one per enabled region."""
    return {
        "gcpProjectId": "emulator",
        "clusters": [
            {
                "name": storage_name(region),
                "region": region,
                "version": "1",
                "status": "RUNNING",
                "nodePools": [
                    {
                        "name": name,
                        "version": "1",
                        "instanceType": name,
                        "status": "RUNNING",
                        "autoscaling": {"enabled": True, "minNodeCount": 0, "maxNodeCount": 100},
                    }
                    for name, machine in MACHINES.items()
                    if machine.cloud == "GCP"
                ],
                "subnetwork": "default",
                "autoscaling": "OPTIMIZE_UTILIZATION",
            }
            for region in ENABLED_REGIONS
            if cloud_provider(region) == "GCP"
        ],
    }
