"""A volume driver of cinder over LUNs that are there already.

It makes and deletes nothing: a volume whose name ends in `-<N>` is LUN N of the one target that cinder.conf names,
any other is LUN 1. So cinder runs on a machine without SCSI, and in the lab it exports a real disk.
"""

import re

from oslo_config import cfg

from cinder.volume import driver

OPTIONS = [
    cfg.StrOpt("castoff_portal", default="192.0.2.20:3260"),
    cfg.StrOpt("castoff_iqn", default="iqn.2026-11.org.castoff:nowhere"),
]


class LunDriver(driver.BaseVD):
    VERSION = "1.0.0"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)

    def check_for_setup_error(self):
        pass

    def _update_volume_stats(self):
        self._stats = {
            "volume_backend_name": "castoff",
            "vendor_name": "castoff",
            "driver_version": self.VERSION,
            "storage_protocol": "iSCSI",
            "multiattach": True,
            "pools": [
                {
                    "pool_name": "luns",
                    "total_capacity_gb": "infinite",
                    "free_capacity_gb": "infinite",
                    "reserved_percentage": 0,
                    "multiattach": True,
                }
            ],
        }

    def create_volume(self, volume):
        return {}

    def delete_volume(self, volume):
        pass

    def local_path(self, volume):
        return None

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def initialize_connection(self, volume, connector):
        number = re.search(r"-(\d+)$", volume.display_name or "")
        return {
            "driver_volume_type": "iscsi",
            "data": {
                "target_discovered": False,
                "target_portal": self.configuration.castoff_portal,
                "target_iqn": self.configuration.castoff_iqn,
                "target_lun": int(number.group(1)) if number else 1,
                "volume_id": volume.id,
            },
        }

    def terminate_connection(self, volume, connector, **kwargs):
        pass
