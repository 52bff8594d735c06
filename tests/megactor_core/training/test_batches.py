"""Which samples a process reads."""

from hypothesis import given
from hypothesis import strategies as st

from megactor_core.training.batches import read_batches, sample_numbers

small = st.integers(1, 4)


@given(first=st.integers(0, 100), steps=small, accumulate=small, batch_size=small, processes=small)
def test_processes_share_out_consecutive_samples(first, steps, accumulate, batch_size, processes) -> None:
    shares = [
        list(
            sample_numbers(
                first,
                steps=steps,
                accumulate=accumulate,
                batch_size=batch_size,
                processes=processes,
                process=process,
            )
        )
        for process in range(processes)
    ]
    assert all(len(share) == steps * accumulate for share in shares)
    per_step = accumulate * batch_size * processes
    for step in range(steps):
        groups = [share[step * accumulate : (step + 1) * accumulate] for share in shares]
        taken = sorted(number for parts in groups for group in parts for number in group)
        assert taken == list(range(first + step * per_step, first + (step + 1) * per_step))


@given(steps=small, accumulate=small, batch_size=small)
def test_two_processes_read_what_one_does_with_twice_the_accumulation(steps, accumulate, batch_size) -> None:
    def read(processes: int, accumulate: int) -> list[set[int]]:
        shares = [
            list(
                sample_numbers(
                    0,
                    steps=steps,
                    accumulate=accumulate,
                    batch_size=batch_size,
                    processes=processes,
                    process=process,
                )
            )
            for process in range(processes)
        ]
        return [
            {n for share in shares for group in share[i * accumulate : (i + 1) * accumulate] for n in group}
            for i in range(steps)
        ]

    assert read(2, accumulate) == read(1, 2 * accumulate)


def test_batches_come_in_order_whether_read_here_or_by_workers(fake_source) -> None:
    groups = [[0, 1], [2, 3], [4, 5]]
    here = list(read_batches(fake_source(), iter(groups), workers=0))
    ahead = list(read_batches(fake_source(), iter(groups), workers=1))
    assert [batch.index.tolist() for batch in ahead] == groups
    for one, other in zip(here, ahead, strict=True):
        assert one.driving.equal(other.driving)
        assert one.target_latent.equal(other.target_latent)
