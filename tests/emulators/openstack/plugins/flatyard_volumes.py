"""A volume driver of Cinder's that has every volume at once: there is no data plane behind it."""

from __future__ import annotations

from cinder.volume import driver


class Volumes(driver.VolumeDriver):
    VERSION = "1.0"

    def check_for_setup_error(self) -> None:
        return

    def _update_volume_stats(self) -> None:
        self._stats = {
            "volume_backend_name": "nowhere",
            "vendor_name": "flatyard",
            "driver_version": self.VERSION,
            "storage_protocol": "nowhere",
            "total_capacity_gb": "infinite",
            "free_capacity_gb": "infinite",
            "reserved_percentage": 0,
        }

    def create_volume(self, volume: object) -> None:
        return

    def delete_volume(self, volume: object) -> None:
        return

    def extend_volume(self, volume: object, new_size: int) -> None:
        return

    def clone_image(
        self,
        context: object,
        volume: object,
        image_location: object,
        image_meta: object,
        image_service: object,
    ) -> tuple[dict[str, str], bool]:
        """The volume has the image without its being copied."""
        return {}, True

    def ensure_export(self, context: object, volume: object) -> None:
        return

    def create_export(self, context: object, volume: object, connector: object) -> None:
        return

    def remove_export(self, context: object, volume: object) -> None:
        return

    def initialize_connection(self, volume: object, connector: object) -> dict[str, object]:
        return {"driver_volume_type": "nowhere", "data": {}}

    def terminate_connection(self, volume: object, connector: object, **words: object) -> None:
        return
