"""How long a test waits for another process or thread before it counts as stuck. No other file of the tests holds such a number.

Nothing timed is asserted: a limit only ends what would hang. Each is ten times what two idle cores need, so that busy ones do too.
"""

SLACK = 10

# Seconds of a quiet machine: processor time over two cores, or the wall clock's where a process works alone (torch 2.13, x86).
MATRIX = SLACK * 25  # two gloo processes through tests.scale.ranks, quick
PARALLEL = SLACK * 40  # four through tests.scale.parallel
SCALED = SLACK * 10  # two through tests.scale.scaled
RESCUE = SLACK * 6  # two through tests.rescue.ranks
COLLECTIVE = SLACK * 9  # the longest that a process of these computes between two barriers, where the others wait for it
TRAINING = SLACK * 8  # torchrun and its two processes: two epochs of the command, or the sharded example
INTEGRATION = SLACK * 10  # torchrun under Lightning, Accelerate or Transformers; or one of their examples
FIRST_CHECKPOINT = SLACK * 6  # the command from its start to the end of the first epoch
END = SLACK * 2  # the command from a signal to its exit
THREADS = SLACK * 1  # two threads that meet: milliseconds
WHOLE_MATRIX = SLACK * 240  # no test: `python -m tests.scale.page --measure`, estimated from its number of traces
