"""The network service of servers that have no network: every list is empty. It is no Neutron.

nova-api shows a server with its security groups, and asks the network service for the server's ports to find them
(nova.network.security_group_api.get_instances_security_groups_bindings); without such a service in the catalog
`GET /servers/ID` is a 500, and OpenStack's client asks for the server before it asks for anything else.

usage: no_ports.py ADDRESS PORT
"""

import http.server
import json
import sys

LISTS = {"/v2.0/ports": "ports", "/v2.0/security-groups": "security_groups", "/v2.0/networks": "networks"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = LISTS.get(self.path.partition("?")[0].removesuffix(".json"))
        text = json.dumps({name: []} if name else {"NeutronError": {"message": "no such resource"}}).encode()
        self.send_response(200 if name else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
