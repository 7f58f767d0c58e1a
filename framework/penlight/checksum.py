# SPDX-License-Identifier: Apache-2.0
"""CRC32C (Castagnoli, RFC 3720 appendix B.4), the checksum of .pen files and of TensorBoard's records."""

from penlight._native import crc32c as crc32c
