"""Descriptors that stay open long go above the numbers that select(2) can take."""

import os
import resource
import socket

from rcc.system.descriptors import ABOVE, above, raise_limit


def test_a_socket_moves_up_and_stays_itself() -> None:
    raise_limit()
    made, other = socket.socketpair()
    made.settimeout(3.5)
    number = made.fileno()
    moved = above(made)
    assert moved.fileno() >= ABOVE and moved.gettimeout() == 3.5 and not os.get_inheritable(moved.fileno())
    other.sendall(b"x")
    assert moved.recv(1) == b"x"
    assert not os.path.exists(f"/proc/self/fd/{number}") or number != moved.fileno()
    moved.close()
    assert other.recv(1) == b"", "nothing else holds it open"
    other.close()


def test_it_stays_where_the_process_may_have_no_such_number() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, ABOVE), hard))
    try:
        with socket.socket() as made:
            assert above(made) is made
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_is_raised_as_far_as_it_may() -> None:
    assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
