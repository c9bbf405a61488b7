"""Networks, shared by the methods. torch only; they know nothing of files."""
