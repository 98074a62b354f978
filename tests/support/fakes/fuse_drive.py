"""A Google Drive that can fail: a real FUSE mount that shows a folder, until this process is killed.

    python tests/support/fakes/fuse_drive.py FOLDER MOUNT_POINT

Speaks the kernel's FUSE protocol (linux/fuse.h, 7.31) on /dev/fuse itself, since libfuse is not on every machine. Killed, every
access to the mount gives Errno 107, as Colab's Drive does. FOLDER.faults, read at each write, holds JSON: `errno` fails it,
`delay` takes so many seconds.
"""

import contextlib
import ctypes
import errno
import json
import os
import stat
import struct
import sys
import time
from pathlib import Path

FORGET, WRITE, RENAME, CREATE, INTERRUPT, BATCH_FORGET = 2, 16, 12, 35, 36, 42
MKDIR, UNLINK, RENAME2 = 9, 10, 45
ROOT = 1


class Drive:
    def __init__(self, folder, mount_point):
        self.folder = Path(folder).resolve()
        self.faults = self.folder.with_name(f"{self.folder.name}.faults")
        self.paths, self.ids, self.listed, self.next = {ROOT: self.folder}, {self.folder: ROOT}, {}, ROOT
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"drive", os.fsencode(mount_point), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), mount_point)

    def serve(self):
        while True:
            try:
                request = os.read(self.device, (1 << 20) + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (FORGET, INTERRUPT, BATCH_FORGET):  # want no answer
                continue
            try:
                answer, number = self.answer(opcode, node, request[40:]), 0
            except OSError as error:
                answer, number = b"", error.errno
            with contextlib.suppress(FileNotFoundError):  # who asked was killed meanwhile
                os.write(self.device, struct.pack("<IiQ", 16 + len(answer), -number, unique) + answer)

    def answer(self, opcode, node, body):
        path = self.paths.get(node)
        if opcode in (WRITE, CREATE, MKDIR, RENAME, RENAME2, UNLINK):
            self.fail()
        match opcode:
            case 26:
                return struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 1 << 5, 12, 9, 1 << 17, 1, 32, 0, 0)
            case 1:
                return self.entry(path / name(body))
            case 3:
                return struct.pack("<QII", 0, 0, 0) + self.attributes(path)
            case 4:
                return self.set_attributes(path, body)
            case 9:
                new = path / name(body[8:])
                new.mkdir()
                return self.entry(new)
            case 10:
                (path / name(body)).unlink()
            case 11:
                (path / name(body)).rmdir()
            case 12 | 45:
                (folder,) = struct.unpack_from("<Q", body)
                before, after = body[8 if opcode == RENAME else 16 :].split(b"\0")[:2]
                self.rename(path / os.fsdecode(before), self.paths[folder] / os.fsdecode(after))
            case 14:
                return self.open(path, struct.unpack_from("<I", body)[0])
            case 15:
                handle, offset, size = struct.unpack_from("<QQI", body)
                return os.pread(handle, size, offset)
            case 16:
                handle, offset, size = struct.unpack_from("<QQI", body)
                return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)
            case 17:
                disk = os.statvfs(self.folder)
                counts = (disk.f_blocks, disk.f_bfree, disk.f_bavail, disk.f_files, disk.f_ffree, disk.f_bsize, disk.f_namemax, disk.f_frsize)
                return struct.pack("<QQQQQIII28x", *counts)
            case 18:
                os.close(struct.unpack_from("<Q", body)[0])
            case 20:
                os.fsync(struct.unpack_from("<Q", body)[0])
            case 27:
                self.next += 1
                self.listed[self.next] = [(child.name, child.lstat()) for child in path.iterdir()]
                return struct.pack("<QII", self.next, 0, 0)
            case 28:
                return self.names(*struct.unpack_from("<QQI", body))
            case 29:
                del self.listed[struct.unpack_from("<Q", body)[0]]
            case 35:
                flags, mode = struct.unpack_from("<II", body)
                new = path / name(body[16:])
                handle = os.open(new, flags & os.O_TRUNC | os.O_CREAT | os.O_RDWR, mode)
                return self.entry(new) + struct.pack("<QII", handle, 0, 0)
            case 25 | 30 | 38:
                pass
            case _:
                raise OSError(errno.ENOSYS, "")
        return b""

    def fail(self):
        try:
            faults = json.loads(self.faults.read_text())
        except (OSError, ValueError):
            return
        time.sleep(faults.get("delay", 0))
        if faults.get("errno"):
            raise OSError(faults["errno"], "")

    def entry(self, path):
        attributes = self.attributes(path)
        if path not in self.ids:
            self.next += 1
            self.ids[path], self.paths[self.next] = self.next, path
        return struct.pack("<QQQQII", self.ids[path], 0, 0, 0, 0, 0) + attributes

    def attributes(self, path):
        status = path.lstat()
        times = (int(status.st_atime), int(status.st_mtime), int(status.st_ctime))
        parts = tuple(value % 10**9 for value in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns))
        owner = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0)
        return struct.pack("<QQQQQQIIIIIIIIII", status.st_ino, status.st_size, status.st_blocks, *times, *parts, *owner)

    def set_attributes(self, path, body):
        valid, _, _, size, _, accessed, modified, _, accessed_ns, modified_ns, _, mode = struct.unpack_from("<IIQQQQQQIIII", body)
        if valid & 8:
            os.truncate(path, size)
        if valid & 1:
            path.chmod(stat.S_IMODE(mode))
        if valid & (16 | 32):
            now, status = time.time_ns(), path.stat()
            access = now if valid & 128 else accessed * 10**9 + accessed_ns if valid & 16 else status.st_atime_ns
            modify = now if valid & 256 else modified * 10**9 + modified_ns if valid & 32 else status.st_mtime_ns
            os.utime(path, ns=(access, modify))
        return struct.pack("<QII", 0, 0, 0) + self.attributes(path)

    def open(self, path, flags):
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        return struct.pack("<QII", os.open(path, (os.O_RDWR if writes else os.O_RDONLY) | (flags & os.O_TRUNC)), 0, 0)

    def rename(self, before, after):
        os.rename(before, after)  # noqa: PTH104  # a Path's rename is the same, with another error
        for path, node in list(self.ids.items()):
            if path == before or path.is_relative_to(before):
                moved = after / path.relative_to(before)
                del self.ids[path]
                self.ids[moved], self.paths[node] = node, moved

    def names(self, handle, offset, size):
        listed = b""
        for place, (child, status) in enumerate(self.listed[handle][offset:], offset + 1):
            encoded = os.fsencode(child)
            record = struct.pack("<QQII", status.st_ino, place, len(encoded), stat.S_IFMT(status.st_mode) >> 12) + encoded
            record += bytes(-len(record) % 8)
            if len(listed) + len(record) > size:
                break
            listed += record
        return listed


def name(body):
    return os.fsdecode(body.partition(b"\0")[0])


if __name__ == "__main__":
    drive = Drive(*sys.argv[1:])
    print("ready", flush=True)
    drive.serve()
