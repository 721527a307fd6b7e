"""Make, on a cloud of real/openstack/up, a server that has a volume attached, as nova and cinder would leave it.

usage: seed.py --host HOST [--server UUID] [--device /dev/vdb] [--device-path /dev/sda]

Keystone and cinder are asked over their APIs, as nova asks them; nova's rows are written by nova's own objects.
Prints JSON: server, volume, attachment, user's token and project.
"""

import argparse
import datetime
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

ARGS = argparse.ArgumentParser()
ARGS.add_argument("--host", required=True)
ARGS.add_argument("--server", default=str(uuid.uuid4()))
ARGS.add_argument("--device", default="/dev/vdb")
ARGS.add_argument("--device-path", default="/dev/sda", help="of the volume on the compute host")
ARGS.add_argument("--name", default="volume-1", help="volume-N is LUN N")
ARGS.add_argument("--bare", action="store_true", help="only a volume")
ARGS.add_argument("--initiator", default="iqn.2026-11.org.castoff:compute")


def call(method, url, body=None, token=None, service=None, version=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Content-Type", "application/json")
    for name, value in (
        ("X-Auth-Token", token),
        ("X-Service-Token", service),
        ("OpenStack-API-Version", version and f"volume {version}"),
    ):
        if value:
            request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
            return answer.headers, json.loads(text) if text else {}
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {url}: {error.code} {error.read()[:300]!r}")


def token_of(user, project):
    domain = {"id": "default"}
    body = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": user, "domain": domain, "password": os.environ["OS_PASSWORD"]}},
            },
            "scope": {"project": {"name": project, "domain": domain}},
        }
    }
    headers, body = call("POST", f"{os.environ['OS_AUTH_URL']}/auth/tokens", body)
    return headers["X-Subject-Token"], body["token"]


def volume_with(url, token, volume, status):
    until = time.monotonic() + 60
    while True:
        found = call("GET", f"{url}/v3/volumes/{volume}", token=token)[1]["volume"]["status"]
        if found == status:
            return
        if found.startswith("error") or time.monotonic() > until:
            sys.exit(f"volume {volume} is {found}, not {status}")
        time.sleep(0.2)


def rows_of_nova(args, about, project, user):
    """What create, attach and heartbeats leave in the tables of the cell and of the API."""
    import sqlalchemy
    from nova.db.api import models as api
    from nova.db.main import models as main

    now = datetime.datetime.utcnow().replace(microsecond=0)
    uuid_of_server = args.server
    instance = {
        "uuid": uuid_of_server, "project_id": project, "user_id": user, "host": args.host, "node": args.host,
        "vm_state": "active", "power_state": 1, "launched_at": now, "created_at": now, "display_name": "castoff",
        "hostname": "castoff", "locked": False, "hidden": False, "cleaned": 0, "deleted": 0, "image_ref": "",
        "instance_type_id": 1, "memory_mb": 64, "vcpus": 1, "root_gb": 0, "ephemeral_gb": 0, "launch_index": 0,
        "root_device_name": "/dev/vda", "availability_zone": "nova", "reservation_id": "r-castoff", "progress": 0,
        "config_drive": "", "auto_disk_config": False, "shutdown_terminate": False, "disable_terminate": False,
    }
    row = {"created_at": now, "deleted": 0, "instance_uuid": uuid_of_server}
    bdm = dict(
        row, uuid=str(uuid.uuid4()), source_type="volume", destination_type="volume", device_type="disk",
        disk_bus="virtio", device_name=args.device, volume_id=about["volume"], volume_size=1,
        attachment_id=about["attachment"], connection_info=json.dumps(about["connection_info"]),
        delete_on_termination=False, no_device=False, boot_index=None,
    )
    engine = sqlalchemy.create_engine(os.environ["CASTOFF_DATABASE"])
    with engine.begin() as db:
        db.execute(main.Instance.__table__.insert().values(**instance))
        db.execute(main.InstanceInfoCache.__table__.insert().values(**row, network_info="[]"))
        db.execute(main.InstanceExtra.__table__.insert().values(**row, flavor=flavor()))
        db.execute(main.BlockDeviceMapping.__table__.insert().values(**bdm))
    engine = sqlalchemy.create_engine(os.environ["CASTOFF_API_DATABASE"])
    with engine.begin() as db:
        cells = db.execute(sqlalchemy.select(api.CellMapping.__table__)).mappings().all()
        for cell in cells:
            if cell["name"] == "cell1":
                mapping = dict(created_at=now, instance_uuid=uuid_of_server, cell_id=cell["id"],
                               project_id=project, user_id=user, queued_for_delete=False)
                db.execute(api.InstanceMapping.__table__.insert().values(**mapping))
                hosts = api.HostMapping.__table__
                if not db.execute(sqlalchemy.select(hosts).where(hosts.c.host == args.host)).first():
                    db.execute(hosts.insert().values(created_at=now, host=args.host, cell_id=cell["id"]))


def flavor():
    from nova.objects.flavor import Flavor

    one = Flavor(id=1, name="castoff", memory_mb=64, vcpus=1, root_gb=0, ephemeral_gb=0, flavorid="castoff", swap=0,
                 rxtx_factor=1.0, vcpu_weight=0, disabled=False, is_public=True, extra_specs={}, description=None,
                 created_at=None, updated_at=None, deleted_at=None, deleted=False)
    return json.dumps({"cur": one.obj_to_primitive(), "old": None, "new": None})


def main():
    args = ARGS.parse_args()
    cinder = os.environ["CASTOFF_CINDER"]
    token, body = token_of("demo", "demo")
    service, _ = token_of("nova", "service")
    project, user = body["project"]["id"], body["user"]["id"]
    volume = call("POST", f"{cinder}/v3/volumes", {"volume": {"size": 1, "name": args.name}}, token)[1]["volume"]["id"]
    volume_with(cinder, token, volume, "available")
    if args.bare:
        return json.dump({"volume": volume}, sys.stdout)
    reserve = {"attachment": {"volume_uuid": volume, "instance_uuid": args.server}}
    made = call("POST", f"{cinder}/v3/attachments", reserve, token, service, "3.44")[1]["attachment"]["id"]
    connector = {
        "ip": "127.0.0.1", "host": args.host, "initiator": args.initiator, "multipath": False,
        "platform": "x86_64", "os_type": "linux", "mountpoint": args.device,
    }
    url = f"{cinder}/v3/attachments/{made}"
    info = call("PUT", url, {"attachment": {"connector": connector}}, token, service, "3.44")[1]["attachment"]
    call("POST", f"{url}/action", {"os-complete": None}, token, service, "3.44")
    flat = info["connection_info"]
    whole = {
        "driver_volume_type": flat["driver_volume_type"],
        "data": {
            **{k: v for k, v in flat.items() if k not in ("driver_volume_type", "attachment_id")},
            "device_path": args.device_path,
        },
        "status": "attaching", "instance": args.server, "attached_at": "", "detached_at": "",
        "volume_id": volume, "serial": volume,
    }
    about = {"server": args.server, "volume": volume, "attachment": made, "connection_info": whole}
    rows_of_nova(args, about, project, user)
    about.update(token=token, project=project, user=user)
    json.dump(about, sys.stdout)


if __name__ == "__main__":
    main()
