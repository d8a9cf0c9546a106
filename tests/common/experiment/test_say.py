import subprocess
import sys

from common.experiment.say import say

PROGRAM = """
import sys
from common.experiment.say import say
for line in range(20_000):
    say(f"line {line}")
print("printed all", file=sys.stderr)
"""


def test_a_line_is_printed(capsys):
    say("Results are here")
    assert capsys.readouterr().out == "Results are here\n"


def test_a_reader_that_has_gone_ends_the_printing_but_not_the_program():
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "line 0\n"
    program.stdout.close()
    assert program.stderr.read() == "printed all\n"
    assert program.wait() == 0
