"""`sonoseg dicom-node`: receives images from DICOM devices."""

import argparse
from pathlib import Path
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.checkout import default_workspace
from sonoseg.runs.command_line import EXIT_OK, number_type, path_type
from sonoseg.runs.signals import deferred_signals, stop_if_received


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "receive images from DICOM devices, segment them, and send the results to an archive"
    node = commands.add_parser("dicom-node", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    node.add_argument("--task", help="task whose model is used: name or task file (default: that of --model)")
    node.add_argument(
        "--model", type=path_type, help="model file (default: the task's own, or the one that comes along)"
    )
    node.add_argument("--workspace", type=path_type, default=default_workspace(), help="folder that contains Models/")
    node.add_argument("--spool", type=path_type, default=Path("dicom_spool"), help="folder of what is in work")
    node.add_argument("--ae", default="SONOSEG", help="AE title of this node (default: SONOSEG)")
    node.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    node.add_argument("--port", type=number_type(int, 1, 65535), default=11112, help="port (default: 11112)")
    node.add_argument("--send", metavar="AE@HOST:PORT", help="where results are sent (default: they stay in the spool)")
    node.add_argument("--allow", metavar="AE", nargs="+", default=(), help="AE titles that may send (default: any)")
    node.add_argument(
        "--max-associations", type=number_type(int, 1, 1000), default=10, help="connections at once (default: 10)"
    )
    node.add_argument(
        "--max-megabytes", type=number_type(int, 1, 10**6), default=1024, help="largest image (default: 1024)"
    )
    node.add_argument("--tls", nargs=2, type=path_type, metavar=("CERTIFICATE", "KEY"), help="take images by TLS only")
    node.add_argument("--tls-ca", type=path_type, help="authorities, one of which has to have signed the other side")
    node.add_argument("--send-tls", action="store_true", help="send results by TLS, with the same certificate")
    node.add_argument("--status-port", type=number_type(int, 1, 65535), help="counts as JSON on 127.0.0.1 at this port")
    node.add_argument(
        "--keep-frame", action="store_true", help="segment whole frames, and not their ultrasound regions"
    )
    node.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the DICOM node until a signal ends it."""
    from sonoseg.dicom.node.process import ResultWriter, load_segmenter
    from sonoseg.dicom.node.serve import started
    from sonoseg.dicom.node.settings import NodeSettings, Tls, parse_ae, parse_peer
    from sonoseg.errors import UsageError
    from sonoseg.inference.terminal import model_line

    try:
        ae, callers = parse_ae(arguments.ae), tuple(parse_ae(text) for text in arguments.allow)
        destination = parse_peer(arguments.send) if arguments.send else None
    except ValueError as problem:
        raise UsageError(f"--ae, --allow or --send: {problem}") from None
    if arguments.tls_ca and not arguments.tls:
        raise UsageError("--tls-ca needs --tls; give the node's own certificate and key as well")
    tls = None
    if arguments.tls:
        certificate, key = arguments.tls
        tls = Tls(certificate, key, arguments.tls_ca)
    settings = NodeSettings(
        spool=arguments.spool,
        ae=ae,
        host=arguments.host,
        port=int(arguments.port),
        callers=callers,
        max_associations=int(arguments.max_associations),
        max_bytes=int(arguments.max_megabytes) << 20,
        destination=destination,
        tls=tls,
        send_tls=arguments.send_tls,
        status_port=arguments.status_port and int(arguments.status_port),
    )
    settings.check()
    segmenter = load_segmenter(arguments.task, arguments.workspace, arguments.model)
    with deferred_signals() as signals, started(settings, ResultWriter(segmenter, arguments.keep_frame)) as node:
        where = f"sends to {arguments.send}" if destination else f"keeps results in {arguments.spool}"
        start = f"{ae} listens on {settings.host}:{settings.port}, {where}, {model_line(segmenter)}"
        print(printable(f"{start}; not for clinical use; Ctrl-C ends it"), flush=True)
        for line in node.run(lambda: signals):
            print(printable(line), flush=True)
    stop_if_received(signals)
    return EXIT_OK
