"""openstacksdk against `castoff serve`: detach, attach and detach again, waiting as programs do."""

import sys

import openstack


def main(server_name, volume_id):
    cloud = openstack.connect(cloud="castoff")
    server = cloud.compute.find_server(server_name, ignore_missing=False)
    for step in ("detach", "attach", "detach"):
        volume = cloud.block_storage.get_volume(volume_id)
        if step == "attach":
            cloud.compute.create_volume_attachment(server, volume_id=volume_id)
            wanted = "in-use"
        else:
            cloud.compute.delete_volume_attachment(server, volume_id)
            wanted = "available"
        cloud.block_storage.wait_for_status(
            volume, status=wanted, failures=["error"], interval=0.2, wait=30
        )
        print(step, cloud.block_storage.get_volume(volume_id).status)


if __name__ == "__main__":
    main(*sys.argv[1:])
