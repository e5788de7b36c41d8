"""python -m benchmarks.phases COMMAND"""

import sys
import tempfile
from pathlib import Path

from benchmarks.phases import run, table

with tempfile.TemporaryDirectory() as folder:
    status = run(sys.argv[1:], Path(folder))
    print(table(Path(folder)).round(2).to_string())
raise SystemExit(status)
