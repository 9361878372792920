"""The command `sonoseg` (also `python -m sonoseg`): tools beside the four scripts, such as `sonoseg verify PATH...`."""

import argparse
import re
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import printable
from sonoseg.runs.checkout import default_workspace
from sonoseg.runs.command_line import EXIT_OK, EXIT_SOME_FAILED, TOOL_FORMATS, number_type, path_type, run_guarded
from sonoseg.runs.signals import deferred_signals, stop_if_received


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sonoseg", description="Tools beside the four scripts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    purpose = "check that datasets, models and results are byte for byte the files that the stages wrote"
    verify = commands.add_parser(
        "verify",
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}. Exit code 0: all are; 1: a file differs; 2: wrong use.",
    )
    verify.add_argument(
        "paths",
        type=path_type,
        nargs="+",
        metavar="PATH",
        help="a folder such as Train_Test_Dataset/spine, Models/spine or result/spine, or a file in one",
    )
    verify.add_argument("--list", action="store_true", help="also list the unchanged files")
    verify.set_defaults(run=verify_paths)
    purpose = "list the trained models that come with SonoSeg"
    models = commands.add_parser("models", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    models.set_defaults(run=list_models)
    purpose = "look at a folder of annotated images, and write the task file for it"
    new = commands.add_parser("new-task", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    new.add_argument("folder", type=path_type, help="folder of images and annotations, as stage 1 takes it")
    new.add_argument("--name", help="name of the task (default: from the folder's)")
    new.add_argument("--out", type=path_type, help="task file to write (default: NAME.yaml here); never overwritten")
    new.add_argument(
        "--minutes", type=number_type(float, 1, 100_000), default=30, help="length of a training on this machine"
    )
    new.add_argument("--list", action="store_true", help="write nothing: print what was recognised, as JSON")
    new.set_defaults(run=new_task)
    purpose = "write annotated images into a new folder, in another annotation format"
    convert = commands.add_parser("convert", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    convert.add_argument("folder", metavar="IN", type=path_type, help="folder of images and annotations")
    convert.add_argument("out", metavar="OUT", type=path_type, help="folder to write: a new one, or an empty one")
    formats = (*TOOL_FORMATS, "mask_folder")
    convert.add_argument("--to", choices=formats, required=True, help="annotation format to write")
    convert.add_argument("--task", help="task whose annotations are in IN (default: layout and classes are recognised)")
    convert.add_argument("--from", dest="only", choices=formats, help="annotation format to read, where IN has several")
    convert.set_defaults(run=convert_folder)
    purpose = "write a trained model as ONNX, for OpenVINO, or as a MONAI bundle"
    exports = commands.add_parser("export", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    exports.add_argument("model", metavar="MODEL", help="model file, its folder, or a name that `sonoseg models` lists")
    exports.add_argument("--to", choices=("onnx", "openvino", "bundle"), required=True, help="format to write")
    exports.add_argument(
        "--out", type=path_type, help="file, or folder of a bundle (default: named after the task, here)"
    )
    exports.set_defaults(run=export_model)
    purpose = "write the label maps of an archive's results as files again"
    masks = commands.add_parser("export-masks", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    masks.add_argument("folder", metavar="OUT_FOLDER", type=path_type, help="output folder of --results parquet")
    masks.add_argument("target", metavar="TARGET", type=path_type, help="folder to write: a new one, or an empty one")
    masks.set_defaults(run=export_archive_masks)
    add_dicom_node(commands)
    return parser.parse_args(argv)


def add_dicom_node(commands: Any) -> None:
    """Add the flags of `sonoseg dicom-node`."""
    purpose = "receive images from DICOM devices, segment them, and send the results to an archive"
    node = commands.add_parser("dicom-node", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    node.add_argument("--task", required=True, help="task whose model is used: name or task file")
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
    node.set_defaults(run=dicom_node)


def run_tool(argv: Sequence[str] | None) -> int:
    arguments = parse_arguments(argv)
    code: int = arguments.run(arguments)
    return code


def list_models(arguments: argparse.Namespace) -> int:
    """Print the registry: what each model is for, what it was trained on, and how it scored."""
    from sonoseg.models.registry import registered_models

    for entry in registered_models():
        print(f"{entry.name} {entry.version}: task {entry.task}")
        print(f"  trained on {entry.trained_on}; quality model from {entry.quality_from}")
        print(f"  scores on {entry.scored_on}: {', '.join(score.text for score in entry.scores)}")
        print(f"  licence {entry.licence}; {entry.attribution}")
        print(f"  file {entry.path}")
        print(f"  SHA-256 {entry.sha256}")
    print("use: inference.py --model NAME, or network.init: NAME in a task file; not for clinical use")
    return EXIT_OK


def new_task(arguments: argparse.Namespace) -> int:
    """Write the task file of a folder, and a picture of six images; print what was recognised and what comes next."""
    from sonoseg.errors import UsageError
    from sonoseg.new_task.findings import look_at, task_name
    from sonoseg.new_task.task_text import findings_json, findings_lines
    from sonoseg.new_task.writing import check_target, write_task
    from sonoseg.schema.task_files import available_tasks

    name = arguments.name or task_name(arguments.folder, available_tasks())
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name) or name == "auto":
        raise UsageError(f"--name {name!a}: expected small letters, digits and underscores, a letter first, not auto")
    out = arguments.out or Path(f"{name}.yaml")
    if not arguments.list:
        try:
            check_target(out)
        except UsageError as problem:
            raise UsageError(f"{problem}, with --out") from None
    findings = look_at(arguments.folder)
    if arguments.list:
        print(findings_json(findings))
        return EXIT_OK
    picture = write_task(out, name, findings, arguments.minutes)
    for line in findings_lines(findings):
        print(printable(line))
    print(printable(f"written: {out}"))
    print(printable(f"look at: {picture}") if picture else "no picture: stage 1 would refuse each image")
    data = shlex.quote(str(arguments.folder))
    print(printable(f"next: python train_test_data_preparation.py --task {shlex.quote(str(out))} --data {data}"))
    return EXIT_OK


def convert_folder(arguments: argparse.Namespace) -> int:
    """Write a data folder in another annotation format; print what became of the annotations."""
    from sonoseg.convert.dataset import check_out, convert
    from sonoseg.convert.source import annotated_folder
    from sonoseg.schema.task_files import load_draft

    check_out(arguments.out, arguments.folder)
    draft = load_draft(arguments.task) if arguments.task else None
    source = annotated_folder(arguments.folder, draft, arguments.only)
    for line in convert(source, arguments.out, arguments.to):
        print(printable(line))
    return EXIT_OK


def export_model(arguments: argparse.Namespace) -> int:
    """Write a model in a format of other programs, after a comparison with the model itself."""
    from sonoseg.errors import UsageError
    from sonoseg.export.facts import facts_of
    from sonoseg.export.write import FORMATS, check_target, export
    from sonoseg.inference.segmenter import read_models

    models = read_models(arguments.model)
    if len(models) > 1:
        raise UsageError(f"{arguments.model}: {len(models)} models; an export has one, give the path of its file")
    out = arguments.out or Path(f"{models[0].task.name}{FORMATS[arguments.to].suffix or '_bundle'}")
    try:
        check_target(arguments.to, out)
    except UsageError as problem:
        raise UsageError(f"{problem}, with --out") from None
    written = export(models[0], arguments.to, out)
    for name, digest in written.digests.items():
        print(printable(f"written: {out.parent / name}, SHA-256 {digest}"))
    print(
        f"{written.agreement:.3%} of the pixels of simulated images of five sizes get the label that torch gives them"
    )
    facts = facts_of(models[0])
    if facts["before"]:
        print(f"not inside: {facts['before']}; apply it to an image before")
    print("not inside: what follows the label map: small pieces, fitted shapes, measurements, quality")
    print(facts["notice"])
    if written.card:
        print(printable(f"noted in {written.card}"))
    return EXIT_OK


def export_archive_masks(arguments: argparse.Namespace) -> int:
    """Write the label maps of an archive's results as files, and print how many."""
    from sonoseg.archive.export_masks import export_masks

    number = sum(1 for _ in export_masks(arguments.folder, arguments.target))
    print(printable(f"{number} label maps written to {arguments.target}; not for clinical use"))
    return EXIT_OK


def dicom_node(arguments: argparse.Namespace) -> int:
    """Run the DICOM node until a signal ends it."""
    from sonoseg.dicom.node.process import ResultWriter, load_segmenter
    from sonoseg.dicom.node.serve import started
    from sonoseg.dicom.node.settings import NodeSettings, Tls, parse_ae, parse_peer
    from sonoseg.errors import UsageError

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
        print(printable(f"{ae} listens on {settings.host}:{settings.port}, {where}; Ctrl-C ends it"), flush=True)
        for line in node.run(lambda: signals):
            print(printable(line), flush=True)
    stop_if_received(signals)
    return EXIT_OK


def verify_paths(arguments: argparse.Namespace) -> int:
    """Compare files with the lists that the stages wrote; see `sonoseg verify --help` for the exit code."""
    from rich.progress import track

    from sonoseg.models.engines.verify import check_engines, engine_folders, is_in_engines
    from sonoseg.models.model_header import check_unlisted
    from sonoseg.runs.verify import STATUSES, compare, plan

    engines = list(dict.fromkeys(folder for path in arguments.paths for folder in engine_folders(path)))
    entries, findings = plan([path for path in arguments.paths if not is_in_engines(path, engines)])
    findings = [check_unlisted(finding) for finding in findings]
    findings += [finding for folder in engines for finding in check_engines(folder)]
    progress = track(entries, "verify", disable=not sys.stderr.isatty(), transient=True)
    findings += [compare(entry) for entry in progress]
    for finding in sorted(findings, key=lambda finding: finding.path):
        if finding.status != "ok" or arguments.list:
            note = f": {printable(finding.note)}" if finding.note else ""
            print(f"{finding.status:9} {printable(str(finding.path))}{note}")
    count = Counter(finding.status for finding in findings)
    print(f"{len(findings)} checked: {', '.join(f'{count[status]} {status}' for status in STATUSES)}")
    if count["ok"] == len(findings) > 0:
        return EXIT_OK
    if count["changed"] or count["missing"]:
        print("restore changed and missing files from a copy, or run the stage that wrote them again")
    return EXIT_SOME_FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool; `verify` returns 0 when all files are unchanged, 1 when not, 2 for wrong use."""
    return run_guarded(run_tool, argv)


if __name__ == "__main__":
    sys.exit(main())
