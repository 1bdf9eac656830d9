# SPDX-License-Identifier: Apache-2.0
"""DECODE: from a media file to raw mono PCM on disk.

`decoder` is the stage; `stages.reader` is the program that it starts for each file; `recorders` take its sound, as one
or channel by channel; `mixing` makes one channel of several; `pcm` writes; `voice_files` lays several recordings into
one file; `findings` turns what the reader reports into errors and warnings.
"""

from stages.decode.decoder import AudioDecoder, DecodeLimits

__all__ = ["AudioDecoder", "DecodeLimits"]
