"""Files as torch.save writes them, without torch."""

import pickle
import zipfile


def write_torch_file(path, held):
    """What torch.save makes of plain values: a zip with a pickle of protocol 2 in a folder, uncompressed."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps(held, protocol=2))
        archive.writestr(f"{path.stem}/version", "3\n")
