"""Workspaces, which hold projects. Each session is for one workspace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from . import api
from ._interrupts import suppressed
from ._objects.json_object import JsonObject
from ._raw import is_list, is_object
from ._requests.validation import retention_payload
from ._tracebacks import trimmed
from .exceptions import HtcNotFoundError, HtcResponseError

if TYPE_CHECKING:
    from . import models, types  # noqa: F401 - in a string
    from ._literals import RescaleRegion
    from .htcsession import HtcSession

__all__ = ["HtcWorkspace", "get_workspace"]


def __dir__() -> list[str]:
    return __all__


class HtcWorkspace(JsonObject["types.HTCTokenPayloadDict", "models.HTCTokenPayload"]):
    """The workspace of a session.

    Attributes:
        json: The claims of the bearer token, an `HTCTokenPayload` object. They include
            `workspaceId` and `workspaceName`.
    """

    _operation = api.GET_TOKEN_PAYLOAD

    def __repr__(self) -> str:
        name, workspace_id = self.json.get("workspaceName"), self.json.get("workspaceId")
        return f"HtcWorkspace(workspaceName={name!r}, workspaceId={workspace_id!r})"

    @property
    def _id(self) -> str:
        workspace_id = cast("object", self.json.get("workspaceId"))
        if not isinstance(workspace_id, str):
            raise HtcResponseError("the bearer token has no workspace id")
        return workspace_id

    def get_limit(self, rescale: HtcSession) -> models.HTCWorkspaceLimit | None:
        """Fetch the maximum number of virtual CPUs that the workspace's jobs may use.

        Operation getWorkspaceLimit. Returns None if there is no limit.

        Args:
            rescale: The session.
        """
        try:
            limit = api.get_htc_workspaces_limits(rescale, self._id)
        except HtcNotFoundError:
            return None
        return api.GET_WORKSPACE_LIMIT.to_record(limit)

    def get_dimensions(self, rescale: HtcSession) -> list[models.HTCComputeEnvironment]:
        """Fetch the computing environments of the workspace.

        Operation getWorkspaceDimensions.

        Args:
            rescale: The session.
        """
        environments = api.get_htc_workspaces_dimensions(rescale, self._id)
        return [api.GET_WORKSPACE_DIMENSIONS.to_record(environment) for environment in environments]

    def get_retention_policy(
        self, rescale: HtcSession
    ) -> models.WorkspaceTaskRetentionPolicy | None:
        """Fetch the times after which tasks are archived and deleted automatically.

        Operation getWorkspaceRetentionPolicy. Returns None if there is no policy. A project's
        policy overrides it.

        Args:
            rescale: The session.
        """
        try:
            policy = api.get_htc_task_retention_policy(rescale, self._id)
        except HtcNotFoundError:
            return None
        return api.GET_WORKSPACE_RETENTION_POLICY.to_record(policy)

    def set_retention_policy(
        self, rescale: HtcSession, archive_after_hours: int, delete_after_hours: int
    ) -> models.WorkspaceTaskRetentionPolicy:
        """Set the times after which tasks are archived and deleted automatically.

        Operation setWorkspaceRetentionPolicy.

        Args:
            rescale: The session.
            archive_after_hours: Hours without use after which an active task is archived, at
                least 0. 0 means never.
            delete_after_hours: Hours after which an archived task is deleted, at least 0. 0 means
                never.

        Raises:
            HtcValidationError: A number is invalid.
        """
        payload = retention_payload(archive_after_hours, delete_after_hours)
        policy = api.put_htc_task_retention_policy(rescale, self._id, payload)
        return api.GET_WORKSPACE_RETENTION_POLICY.to_record(policy)

    def get_gcp_clusters(self, rescale: HtcSession) -> models.HTCClusterStatusResponse:
        """Fetch the Google Cloud clusters that can run jobs of the workspace.

        Operation getGcpClusters.

        Args:
            rescale: The session.
        """
        clusters = api.get_htc_gcp_clusters(rescale, self._id)
        return api.GET_GCP_CLUSTERS.to_record(clusters)

    def get_regions(
        self,
        rescale: HtcSession,
        cloud_provider: str | None = None,
        enabled: bool | None = None,
    ) -> list[models.HTCRegionAdminSettings]:
        """Fetch the settings of all regions.

        Operation listRegions.

        Args:
            rescale: The session.
            cloud_provider: Only regions of this cloud provider: AWS, GCP, NGC, AZURE, RC or
                COREWEAVE. None for all providers.
            enabled: True for only enabled regions, False for only disabled regions, None for all.
        """
        with trimmed():
            regions: object = api.get_htc_regions(
                rescale, cloud_provider=cloud_provider, enabled=enabled
            )
            if not is_list(regions):
                raise HtcResponseError("listRegions: the response is not a list of regions")
            return [api.GET_REGION.to_record(region) for region in regions]

    def get_region(
        self, rescale: HtcSession, region: RescaleRegion
    ) -> models.HTCRegionAdminSettings | None:
        """Fetch the settings of one region. Returns None if the region does not exist.

        Operation getRegion.

        Args:
            rescale: The session.
            region: The region's name, such as AWS_US_EAST_1.
        """
        try:
            settings = api.get_htc_regions(rescale, region)
        except HtcNotFoundError:
            return None
        return api.GET_REGION.to_record(settings)

    def get_storages(self, rescale: HtcSession) -> list[models.RegionStorageOption]:
        """Fetch the storages of all enabled regions.

        Operation listStorages.

        Args:
            rescale: The session.
        """
        return [api.GET_STORAGE.to_record(storage) for storage in api.get_htc_storage(rescale)]

    def get_storage(
        self, rescale: HtcSession, region: RescaleRegion
    ) -> models.RegionStorageOption | None:
        """Fetch the storage of one region. Returns None if the region has no storage.

        Operation getStorage.

        Args:
            rescale: The session.
            region: The region's name, such as AWS_US_EAST_1.
        """
        try:
            storage = api.get_htc_storage_region(rescale, region)
        except HtcNotFoundError:
            return None
        return api.GET_STORAGE.to_record(storage)

    def get_metrics(self, rescale: HtcSession) -> str:
        """Fetch the workspace's metrics in the OpenMetrics text format.

        Operation getMetrics.

        Args:
            rescale: The session.
        """
        return api.get_htc_metrics(rescale)


def get_workspace(rescale: HtcSession) -> HtcWorkspace:
    """Return the workspace of the session.

    Operation getTokenPayload.

    Args:
        rescale: The session.

    Raises:
        HtcResponseError: The response has no claims.
    """
    with trimmed():
        claims: object = api.get_auth_token_whoami(rescale)
        if isinstance(claims, str):
            with suppressed(ValueError, RecursionError):
                claims = json.loads(claims)
        if not is_object(claims):
            raise HtcResponseError("getTokenPayload: the response is not an object with claims")
        return HtcWorkspace(claims)
