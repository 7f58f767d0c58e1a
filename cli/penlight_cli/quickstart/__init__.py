# SPDX-License-Identifier: Apache-2.0
"""What `penlight quickstart` does, stage by stage, and the page it writes."""
