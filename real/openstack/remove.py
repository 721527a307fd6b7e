"""Ask nova-api to detach: DELETE os-volume_attachments, which is what `openstack server remove volume` sends.

usage: remove.py < JSON of seed.py
"""

import json
import os
import sys

import seed


def main():
    about = json.load(sys.stdin)
    url = f"{os.environ['CASTOFF_NOVA']}/v2.1/servers/{about['server']}/os-volume_attachments/{about['volume']}"
    seed.call("DELETE", url, token=about["token"])
    print("nova-api has answered 202", file=sys.stderr)


if __name__ == "__main__":
    main()
