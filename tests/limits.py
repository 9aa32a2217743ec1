"""How long a test waits for another process or thread before it counts as stuck. No other file of the tests holds such a number.

Nothing timed is asserted: a limit only ends what would hang, for a process that fails ends its test at once. Each is ten times what two idle cores
need by the wall clock (torch 2.13, x86, rounded up), so that eight other busy processes do not end it.
"""

SLACK = 10

MATRIX = SLACK * 35  # two gloo processes through tests.scale.ranks, quick
PARALLEL = SLACK * 60  # four through tests.scale.parallel
SCALED = SLACK * 24  # two through tests.scale.scaled
RESCUE = SLACK * 10  # two through tests.rescue.ranks
COLLECTIVE = SLACK * 9  # one collective: the longest that a process of these computes between two barriers while the others wait
TRAINING = SLACK * 12  # torchrun and its two processes: two epochs of the command, or the sharded example
INTEGRATION = SLACK * 15  # torchrun under Lightning, Accelerate or Transformers; or one of their examples
FIRST_CHECKPOINT = SLACK * 6  # the command from its start to the end of the first epoch
END = SLACK * 2  # the command from a signal to its exit
THREADS = SLACK * 1  # two threads that meet: milliseconds
WHOLE_MATRIX = SLACK * 240  # no test: `python -m tests.scale.page --measure`, estimated from its number of traces
