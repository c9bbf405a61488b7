"""The Python door: one typed function per subcommand. The command line calls nothing else.

Each function imports what it needs when it is called, so that importing this module stays cheap.
"""

from __future__ import annotations
