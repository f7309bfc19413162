"""Nothing leaves the machine while the official package scores: every way that its libraries know is
tried.
"""

import os
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from evaluation.vbench.worker.job import environment

ROOT = Path(__file__).parents[2]

TRIES = {
    "urllib": "import urllib.request; urllib.request.urlopen('http://192.0.2.1/x', timeout=5)",
    "name": "import socket; socket.create_connection(('example.org', 80), timeout=5)",
    "datagram": (
        "import socket; datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        "datagram.sendto(b'x', ('192.0.2.1', 53))"
    ),
    "wget": "import subprocess; subprocess.run(['wget', '-q', 'http://192.0.2.1/x'])",
    "shell": "import os; os.system('git clone http://192.0.2.1/x')",
    "torch.hub": "import torch; torch.hub.load_state_dict_from_url('https://192.0.2.1/x.pth', model_dir='.')",
    "torch.hub repository": "import torch; torch.hub.load('example/repository', 'model', trust_repo=True)",
    "hub client": (
        "from huggingface_hub import hf_hub_download; hf_hub_download('example/repository', 'config.json', "
        "cache_dir='.')"
    ),
    "hub snapshot": (
        "from huggingface_hub import snapshot_download; snapshot_download('example/repository', "
        "cache_dir='.')"
    ),
    "connection": (
        "import http.client; http.client.HTTPSConnection('192.0.2.1', timeout=5).request('GET', '/')"
    ),
}


@pytest.mark.parametrize("way", sorted(TRIES))
@pytest.mark.slow
def test_nothing_leaves_the_machine(way: str, tmp_path: Path) -> None:
    """Guards scoring against downloads, also swallowed ones: refused before anything is sent, and
    remembered.
    """
    program = (
        "from evaluation.vbench.worker.guard import REFUSED, forbid_network\nforbid_network()\n"
        "import time; time.sleep = lambda seconds: None  # clients wait before they try again\n"
        f"import os; os.chdir({str(tmp_path)!r})\ntry:\n    {TRIES[way]}\nexcept BaseException: pass\n"
        "print(len(REFUSED), REFUSED[:1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 1, done.stdout


def test_a_program_that_is_started_reaches_nothing(tmp_path: Path) -> None:
    """Guards what the audit hook does not see: a child's download goes to a port where nobody listens; here a
    server stands for the world.
    """
    world = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    Thread(target=world.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{world.server_port}/"
    program = (
        f"import urllib.request\ntry:\n    print(urllib.request.urlopen({address!r}, "
        "timeout=20).status)\nexcept OSError as e:\n    print(e)"
    )

    def said(extra: dict[str, str]) -> str:
        command, plain = [sys.executable, "-c", program], {"PATH": os.environ["PATH"], "no_proxy": "*"}
        return subprocess.run(
            command, env=plain | extra, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert said({}).strip() == "200"
    assert "Connection refused" in said(environment(tmp_path))
    world.shutdown()


def test_what_stays_on_the_machine_is_allowed() -> None:
    """Guards against a guard that breaks what libraries do at home: a pair of local sockets, an ordinary
    program.
    """
    program = (
        "from evaluation.vbench.worker.guard import REFUSED, forbid_network\nforbid_network()\nimport "
        "socket, subprocess\na, b = socket.socketpair()\na.sendall(b'x')\nsubprocess.run(['true'], "
        "check=True)\nprint(REFUSED)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
