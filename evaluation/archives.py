"""What a member of a stranger's zip may not be, for all that unpack one.

evaluation/files.py opens zips; this says which of their members are refused before anything is unpacked.
"""

import re
import stat
import zipfile


def unsafe_member(member: zipfile.ZipInfo, *, max_mb: int, max_ratio: int) -> str | None:
    """What is wrong with a member of a zip, as the end of a sentence about it, or None.

    max_mb: MiB that it may unpack to; max_ratio: unpacked to packed bytes of one over 1 MiB.
    """
    # The name as stored: zipfile turns backslashes into slashes on Windows only, and cuts names at a null.
    name = member.orig_filename
    mode = member.external_attr >> 16
    if name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
        return "has an absolute name"
    if ".." in re.split(r"[/\\]", name):
        return 'has ".." in its name'
    if "\\" in name or "\0" in name:
        return "has a backslash or a null in its name"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > max_mb << 20:
        return f"unpacks to {member.file_size >> 20} MiB, more than {max_mb}"
    if member.file_size > 2**20 and member.file_size > max_ratio * member.compress_size:
        return f"unpacks to more than {max_ratio} times its packed size"
    return None
