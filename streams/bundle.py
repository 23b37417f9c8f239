"""Bundles: model versions as folders of data that are checked before they are used.

    <root>/<version id>/
        model.skops     the main pipeline
        gate.skops      the gate, where there is one
        estimator.skops what estimates metrics without labels; older bundles have none
        model.onnx      the main pipeline in ONNX, where it has such a form
        profile.json    what the training data looked like
        manifest.json   everything else, and the SHA-256 of the files above
        manifest.sig    HMAC-SHA256 (hex) of manifest.json's bytes with the deployment's key

Nothing in a bundle is code. A bundle that fails a check raises BundleError and changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams import skops_files
from streams.bundle_folder import bundle_folder
from streams.declaration import json_text
from streams.estimates.saved import of_plain
from streams.manifest import RETRAIN, Contents, build, difference, refusal, samples
from streams.task import Task
from streams.version import Version

log = logging.getLogger(__name__)

MODEL, GATE, PROFILE = "model.skops", "gate.skops", "profile.json"
ESTIMATOR = "estimator.skops"
ONNX = "model.onnx"
FILES = (MODEL, GATE, ESTIMATOR, PROFILE, ONNX)
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"


class BundleError(ValueError):
    """A bundle that is refused; the message names the folder and file, the reason, what to do."""

    def __init__(self, folder: Path, file: str, reason: str, remedy: str) -> None:
        self.file = file
        self.reason = reason
        where = folder / file if file else folder
        super().__init__(f"bundle {where}: {reason}; {remedy}")


@dataclass(frozen=True)
class BundleInfo:
    """A saved bundle: ``sha256`` is the manifest's, in hex."""

    id: str
    folder: Path
    sha256: str
    manifest: Mapping[str, Any]


def save_bundle(folder_root: Path, task: Task, contents: Contents, key: bytes) -> BundleInfo:
    """Write a bundle to ``folder_root/<id>``; it is there whole or not at all.

    A bundle of that id that is there already is kept if it loads, and replaced if it does not:
    its content is decided by its id. Raises skops_files.UnsafeFile where an estimator holds what
    `load_bundle` would refuse.
    """
    folder = folder_root / contents.id
    if folder.exists():
        try:
            load_bundle(folder, task, key)
        except BundleError:
            shutil.rmtree(folder)
        else:
            return bundle_info(folder)
    files = {
        MODEL: skops_files.dump(contents.model),
        PROFILE: json_text(contents.profile).encode(),
    }
    if contents.gate is not None:
        files[GATE] = skops_files.dump(contents.gate)
    if contents.estimates is not None:
        files[ESTIMATOR] = skops_files.dump(contents.estimates.plain())
    if contents.onnx is not None:
        files[ONNX] = contents.onnx
    files[MANIFEST] = json_text(build(task, contents, files)).encode()
    files[SIGNATURE] = sign(files[MANIFEST], key).encode()

    # 1. All files under a name that no reader looks for. 2. On disk. 3. The final name, at once:
    # a crash before it leaves a folder `.partial-…` that nothing reads.
    folder_root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder_root))
    try:
        for name, data in files.items():
            with (partial / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        partial.chmod(0o755)
        _sync_folder(partial)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync_folder(folder_root)
    return bundle_info(folder)


def load_bundle(folder: Path, task: Task, key: bytes) -> Version:
    """The version in a bundle, checked from the signature to the answers it gives.

    Raises BundleError naming file, reason and what to do.
    """
    # 1. What is signed: nothing else of the folder is looked at before the signature holds.
    manifest = _signed_as_named(folder, key)
    with _well_formed(folder):
        # 2. What the manifest says of itself and of this task.
        refused = refusal(manifest, task)
        if refused is not None:
            raise BundleError(folder, MANIFEST, *refused)
        # 3. Exactly the files that it lists, each with its hash.
        files = _checked_files(folder, manifest)
    # 4. Estimators, from types that are known to be harmless.
    estimators: dict[str, Any] = {}
    for name in (MODEL, GATE, ESTIMATOR):
        try:
            estimators[name] = skops_files.load(files[name]) if name in files else None
        except skops_files.UnsafeFile as error:
            raise BundleError(folder, name, str(error), RETRAIN) from error
    # 5. The same answers as at training; the first call is also what warms the estimators up.
    try:
        profile = json.loads(files[PROFILE])
        plain = estimators[ESTIMATOR]
        version = Version(
            task,
            manifest,
            estimators[MODEL],
            estimators[GATE],
            profile,
            samples(manifest, task),
            None if plain is None else of_plain(plain),
            _portable(folder, manifest, files),
        )
        differs = difference(version)
    except BundleError:
        raise
    except Exception as error:
        reason = f"it does not answer its sample rows: {type(error).__name__}: {error}"
        raise BundleError(folder, MODEL, reason, RETRAIN) from error
    if differs:
        raise BundleError(folder, MODEL, differs, RETRAIN)
    return version


def folder_of(artifacts: Path, name: str) -> Path:
    """`bundle_folder`; BundleError where the name is no version's."""
    try:
        return bundle_folder(artifacts, name)
    except ValueError as error:
        raise BundleError(artifacts, "", str(error), "somebody else wrote the record") from error


def checked_files(folder: Path, key: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest of a bundle and all its files by name, as they were signed; links are refused.

    Raises BundleError.
    """
    manifest = _signed_as_named(folder, key)
    with _well_formed(folder):
        files = _checked_files(folder, manifest)
    return manifest, {**files, **{name: _read(folder, name) for name in (MANIFEST, SIGNATURE)}}


def remove_learned(folder: Path, key: bytes) -> None:
    """Remove the bundle of a version that learned in the stream: no other, and no other file.

    Raises BundleError where its signed manifest does not say that it is one.
    """
    manifest = _signed(folder, key)
    if manifest.get("id") != folder.name or not manifest.get("continual"):
        raise BundleError(folder, MANIFEST, "it is of no version that the learner made", "keep it")
    # What is left after a crash in between still names what is to be removed.
    for name in (*(name for name in FILES if name in manifest["files"]), SIGNATURE, MANIFEST):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody has put something else there
        folder.rmdir()


def load_profile(folder: Path, key: bytes) -> dict[str, Any]:
    """What the training data of the version in a bundle looked like; no estimator is loaded.

    Raises BundleError where the manifest or the profile is not what was signed.
    """
    manifest = _signed(folder, key)
    data = _read(folder, PROFILE)
    listed = manifest.get("files", {}).get(PROFILE, "")
    if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), listed):
        raise BundleError(
            folder, PROFILE, "its SHA-256 is not what the manifest says: it was changed", RETRAIN
        )
    profile: dict[str, Any] = json.loads(data)
    return profile


def bundle_info(folder: Path) -> BundleInfo:
    """The name, hash and manifest of a bundle, unchecked. BundleError where it has no manifest."""
    data = _read(folder, MANIFEST)
    manifest = _parse(folder, data)
    return BundleInfo(manifest["id"], folder, hashlib.sha256(data).hexdigest(), manifest)


def sign(data: bytes, key: bytes) -> str:
    """HMAC-SHA256 of ``data`` in hex. ValueError for an empty key."""
    if not key:
        raise ValueError("the key that signs bundles is empty: set WEIR_SIGNING_KEY")
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def _signed(folder: Path, key: bytes) -> dict[str, Any]:
    """The manifest, whose signature holds."""
    data = _read(folder, MANIFEST)
    signature = _read(folder, SIGNATURE)
    if not hmac.compare_digest(signature.strip(), sign(data, key).encode()):
        reason = "its signature is not by this deployment's key: it was changed or is another's"
        raise BundleError(
            folder, MANIFEST, reason, "check WEIR_SIGNING_KEY, or train a new version"
        )
    return _parse(folder, data)


def _signed_as_named(folder: Path, key: bytes) -> dict[str, Any]:
    """The same, of the version that the folder is named after."""
    manifest = _signed(folder, key)
    if manifest.get("id") != folder.name:
        reason = f"it is of version {manifest.get('id')}, in a folder named {folder.name}"
        raise BundleError(folder, MANIFEST, reason, RETRAIN)
    return manifest


@contextlib.contextmanager
def _well_formed(folder: Path) -> Iterator[None]:
    """BundleError where a manifest lacks what is read of it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(folder, MANIFEST, f"it is not a manifest: {error!r}", RETRAIN) from error


def _checked_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    listed: Mapping[str, str] = manifest["files"]
    strange = set(listed) - set(FILES)
    if strange or not {MODEL, PROFILE} <= set(listed):
        raise BundleError(folder, MANIFEST, f"it lists the files {sorted(listed)}", RETRAIN)
    if (manifest["gate"]["threshold"] is None) == (GATE in listed):
        raise BundleError(folder, MANIFEST, "gate and threshold go together", RETRAIN)
    present = {entry.name for entry in folder.iterdir()}
    extra = present - set(listed) - {MANIFEST, SIGNATURE}
    if extra:
        name = sorted(extra)[0]
        raise BundleError(folder, name, "the manifest does not list it", "remove it")
    files = {name: _read(folder, name) for name in listed}
    for name, data in files.items():
        if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), listed[name]):
            raise BundleError(
                folder, name, "its SHA-256 is not what the manifest says: it was changed", RETRAIN
            )
    return files


def _portable(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Any:
    """What asks the model's ONNX form, where that was chosen to serve; else None.

    Where onnxruntime is not installed the version is served by scikit-learn: slower, not wrong.
    """
    if ONNX not in files or manifest.get("runtime", {}).get("chosen") != "onnx":
        return None
    try:
        from streams.portable.session import Session
    except ImportError:
        log.warning("%s is served by scikit-learn: onnxruntime is not installed", folder.name)
        return None
    try:
        return Session(files[ONNX])
    except Exception as error:
        reason = f"it does not load: {type(error).__name__}: {error}"
        raise BundleError(folder, ONNX, reason, RETRAIN) from error


def _read(folder: Path, name: str) -> bytes:
    """The bytes of a file right in ``folder``; links are refused, wherever they lead."""
    if folder.is_symlink():
        raise BundleError(folder, "", "it is a link", "put the folder itself there")
    try:
        # Not blocking: a pipe of that name would otherwise be waited for.
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BundleError(folder, name, "it is missing", RETRAIN) from error
    except OSError as error:
        raise BundleError(
            folder, name, f"it cannot be read: {error.strerror}", "put a plain file there"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(folder, name, "it is not a plain file", "put a plain file there")
        return file.read()


def _parse(folder: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        if not isinstance(manifest, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        raise BundleError(folder, MANIFEST, f"it is not JSON: {error}", RETRAIN) from error
    return manifest


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
