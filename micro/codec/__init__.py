"""Codecs: values to bytes and back, chosen by content type on both ends."""

from micro.codec.contract import Codec, Decoder, Encoder

__all__ = ["Codec", "Decoder", "Encoder"]
