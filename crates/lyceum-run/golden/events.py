"""TensorBoard's own view of our event files (PyPI: tensorboard).

    python events.py golden        prints the bytes that src/events.rs must write
    python events.py read FILE     prints what tensorboard reads from a file of ours
"""

import struct
import sys

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c


def frame(event):
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


if sys.argv[1] == "golden":
    scalars = [
        Summary.Value(tag="loss", simple_value=0.5),
        Summary.Value(tag="reward/verifier", simple_value=-1.25),
    ]
    print(frame(Event(wall_time=1.5, file_version="brain.Event:2")).hex())
    print(frame(Event(wall_time=2.5, step=300, summary=Summary(value=scalars))).hex())
else:
    for event in EventFileLoader(sys.argv[2]).Load():
        for value in event.summary.value:
            number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
            print(event.step, value.tag, number)
