"""What the embedded store does about its file: refusals at opening, full disks, other programs, its threads."""

# ruff: noqa: ASYNC221, ASYNC240 - nothing else runs in these loops that a file or `mount` could hold up

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from protocol.ids import MatchId, Micros, Seq
from server.adapters.sqlite import file as sqlite_file
from server.adapters.sqlite import thread as sqlite_thread
from server.adapters.sqlite import transactions
from server.adapters.sqlite.file import CHECKED_AT_OPEN_BYTES, SCHEMA_VERSION
from server.adapters.sqlite.statements import SCHEMAS
from server.adapters.sqlite.store import SqliteStore
from server.adapters.sqlite.write import Writer
from server.core.log import UNSTORABLE, Appended, Mark
from server.core.revocations import Revocation
from server.ports import StoreUnavailable, StoreUnusable
from tests.support.clock import FakeClock
from tests.support.programs import ROOT
from tests.support.stores import ALICE, BOB, M, World, post, seqs, stored


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    store = await SqliteStore.open(path, clock)
    yield World(store, clock)
    await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def writer_job(world: World, statement: str) -> asyncio.Future[object]:
    """Have the writer's connection run `statement`."""
    assert isinstance(world.store, SqliteStore)
    run = world.store._writer.run(lambda writer: writer._file.connection.execute(statement).fetchall())
    return asyncio.ensure_future(run)


async def refusal(path: Path) -> str:
    """Give the reason for which opening is refused; it is one line and leaves no thread behind."""
    with pytest.raises(StoreUnusable) as caught:
        await SqliteStore.open(path, FakeClock())
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


# ---- opening


async def test_everything_is_there_after_opening_again(path: Path) -> None:
    async with opened(path) as world:
        epoch = world.store.epoch
        await world.make(ALICE, BOB)
        await world.fill(3)
        before = (await world.page(), await world.store.welcome([ALICE, BOB], 9), await world.state())
    async with opened(path) as world:
        assert (await world.page(), await world.store.welcome([ALICE, BOB], 9), await world.state()) == before
        assert world.store.epoch == epoch
        (again,) = await world.post(post("x"))
        assert again.message.seq == 5


async def test_closing_leaves_one_file_and_a_lock(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


async def test_only_the_owner_may_read_the_files(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        modes = {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {0o600}


async def test_commits_reach_the_disk_before_they_are_answered(path: Path) -> None:
    async with opened(path) as world:
        assert await writer_job(world, "PRAGMA journal_mode") == [("wal",)]
        assert await writer_job(world, "PRAGMA synchronous") == [(2,)]


@pytest.mark.parametrize("name", ["a b.db", "what?mode=memory", "100%25", "é#x", ":memory:"])
async def test_odd_names_are_only_names(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / name) as world:
        await world.make(ALICE, BOB)
    assert (tmp_path / name).stat().st_size > 0


async def test_a_second_one_in_this_process_is_refused(path: Path) -> None:
    async with opened(path):
        assert f"process {os.getpid()} holds it" in await refusal(path)
    async with opened(path):
        pass


async def test_a_second_process_is_refused_also_by_another_name(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    program = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from server.adapters.clock import SystemClock\nfrom server.adapters.sqlite.store import SqliteStore\n"
        "asyncio.run(SqliteStore.open(Path(sys.argv[1]), SystemClock()))"
    )
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        command = (sys.executable, "-c", program, str(link))
        child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.PIPE)
        _, said = await child.communicate()
        assert child.returncode == 1
        assert f"process {os.getpid()} holds it" in said.decode()
        assert len(await world.fill(1)) == 1


async def test_no_such_folder(tmp_path: Path) -> None:
    assert "there is no folder" in await refusal(tmp_path / "no" / "such" / "store")


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "it is a folder" in await refusal(tmp_path)


async def test_a_lock_that_cannot_be_made(path: Path) -> None:
    Path(f"{path}.lock").mkdir()
    assert "Is a directory" in await refusal(path)


async def test_text_is_no_database(path: Path) -> None:
    path.write_text("Dear diary,\n" * 1000)
    assert "it is no SQLite database" in await refusal(path)
    assert path.read_text().startswith("Dear diary")


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_schema_from_the_future_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert f"a newer Duologue wrote it (schema {SCHEMA_VERSION + 1}" in await refusal(path)


async def test_a_file_of_schema_1_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that is in it; a step that fails leaves it as it was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMAS[0] + OLD_FILE)
    assert version_of(path) == 1
    with monkeypatch.context() as broken:
        broken.setattr(sqlite_file, "SCHEMAS", (*SCHEMAS[:1], SCHEMAS[1] + "CREATE TABLE store (twice TEXT)"))
        assert "already exists" in await refusal(path)
    assert version_of(path) == 1
    for _ in range(2):
        async with opened(path) as world:
            assert world.store.epoch == "old"
            assert [entry.seq for entry in await world.sync_all()] == [1, 2]
            assert isinstance(world.store, SqliteStore)
            await world.store.revoke(Revocation(ALICE, "t1", None, Micros(world.clock.wall_us + 1)))
            await world.store.set_block(ALICE, BOB, is_on=True)
    assert version_of(path) == SCHEMA_VERSION


# What the first version wrote: a match of two, and a message in it.
OLD_FILE: Final = f"""
    PRAGMA application_id = {sqlite_file.APPLICATION_ID};
    PRAGMA user_version = 1;
    INSERT INTO store VALUES ('old');
    INSERT INTO users VALUES (1, 'alice'), (2, 'bob');
    INSERT INTO matches VALUES (1, 'm', 2, 1001, 1);
    INSERT INTO members VALUES (1, 1, 1, NULL, 2, 2, 1), (1, 2, 1, NULL, 1, 1, 0);
    INSERT INTO entries VALUES
        (1, 1000, 1, 0, 2, NULL, NULL, NULL, NULL, CAST('{{"members":["alice","bob"],"joined":["alice","bob"],"left":[]}}' AS BLOB)),
        (1, 1001, 2, 1, 1, 1, 'c1', 1, NULL, CAST('{{"text":"hello"}}' AS BLOB));
"""


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


async def test_damage_is_seen_at_opening(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        await world.fill(300)
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096, 2):
        content[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    path.write_bytes(content)
    assert "it is damaged" in await refusal(path)


async def test_damage_in_a_large_file_is_told_when_it_is_read(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        await world.fill(900)
    content = bytearray(path.read_bytes())
    roots = 4096 * 32  # of tables and indexes
    content[roots:] = b"\xa5" * (len(content) - roots)
    path.write_bytes(content)
    os.truncate(path, CHECKED_AT_OPEN_BYTES + 4096)
    async with opened(path) as world:
        with pytest.raises(StoreUnavailable, match="SQLITE_CORRUPT"):
            await world.page()


async def test_a_folder_that_can_only_be_read(tmp_path: Path) -> None:
    async with opened(tmp_path / "store") as world:
        await world.make(ALICE, BOB)
    with mounted(tmp_path, "--bind", str(tmp_path)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path)], check=True)
        assert "Read-only file system" in await refusal(tmp_path / "store")


async def test_a_file_that_can_only_be_read(path: Path, tmp_path: Path) -> None:
    async with opened(path):
        pass
    with mounted(path, "--bind", str(path)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
        assert "read" in (await refusal(path)).lower()


async def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=16k", "tmpfs"):
        assert "full" in await refusal(tmp_path / "store")


async def test_a_writer_elsewhere_is_waited_for_then_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path):
        pass
    monkeypatch.setattr("server.adapters.sqlite.file.BUSY_MS", 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "another program writes to it" in await refusal(path)


@pytest.mark.parametrize(
    "name, says",
    [
        ("SQLITE_CORRUPT_INDEX", "it is damaged"),
        ("SQLITE_READONLY_DIRECTORY", "it can be read only"),
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_WRITE"),
        ("SQLITE_LOCKED", "another program"),
        ("SQLITE_MISUSE", "odd"),
    ],
)
def test_what_sqlite_says_is_put_in_words(name: str, says: str) -> None:
    error = sqlite3.OperationalError("odd")
    error.sqlite_errorname = name
    assert says in sqlite_file._explain(error)


async def test_opening_that_fails_leaves_no_thread_and_no_lock(path: Path) -> None:
    path.write_text("no database" * 100)
    for _ in range(2):
        await refusal(path)
    path.unlink()
    async with opened(path):
        pass


# ---- full disks


@contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[None]:
    """Mount something for a while; skip the test where that is not allowed (not root, or a container)."""
    if shutil.which("mount") is None or subprocess.run(["mount", *arguments, str(target)], check=False).returncode:
        pytest.skip("mounting is not allowed here; the test with max_page_count runs everywhere")
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


async def fill_up(world: World) -> int:
    """Post until the store refuses; give the number of messages that it answered."""
    for number in range(10_000):
        try:
            await world.store.append([post(f"{number}", text="x" * 2000), post(f"{number} too", BOB)])
        except StoreUnavailable as error:
            if "SQLITE_FULL" in error.reason and not error.maybe_stored:
                return number * 2
            raise
    raise AssertionError("it never ran full")


async def works_again(world: World, answered: int) -> None:
    page = await world.page(limit=1)
    assert (page.entries[0].seq, (await world.state()).messages) == (answered + 1, answered)
    (outcome,) = await world.post(post("space again"))
    assert outcome.message.seq == answered + 2
    assert len(await world.sync_all()) == answered + 2


async def test_a_full_disk_stores_nothing_by_halves_and_passes(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        await writer_job(world, "PRAGMA max_page_count = 80")
        answered = await fill_up(world)
        with pytest.raises(StoreUnavailable):
            await world.store.append([post("again", text="x" * 100_000)])
        assert (await world.page(limit=1)).entries[0].seq == answered + 1
        await writer_job(world, "PRAGMA max_page_count = 1000000")
        await works_again(world, answered)


async def test_a_full_file_system_stores_nothing_by_halves_and_passes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=600k", "tmpfs"):
        async with opened(disk / "store") as world:
            await world.make(ALICE, BOB)
            answered = await fill_up(world)
            subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
            await works_again(world, answered)
        # What was answered is there when it is opened again, too.
        async with opened(disk / "store") as world:
            assert (await world.state()).messages == answered + 1


# ---- odd rows and other programs


async def test_what_sqlite_itself_refuses_is_refused_alone(path: Path) -> None:
    def only_small_bodies(writer: Writer) -> None:
        writer._file.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 5_000)

    async with opened(path) as world:
        await world.make(ALICE, BOB)
        assert isinstance(world.store, SqliteStore)
        await world.store._writer.run(only_small_bodies)
        batch = [post("a"), post("big", text="x" * 6_000), post("b"), post("a"), post("c", reply_to=2)]
        first, second, third, fourth, fifth = await world.store.append(batch)
        assert second == UNSTORABLE
        assert [stored(each).message.seq for each in (first, third, fourth, fifth)] == [2, 3, 2, 4]
        assert seqs((await world.page()).entries) == [4, 3, 2, 1]


async def test_a_commit_that_failed_halfway_may_have_been_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_commit(writer: Writer) -> None:
        execute = writer._transactions.execute

        def failing(statement: str, parameters: tuple[int, ...] = ()) -> sqlite3.Cursor:
            if statement == "COMMIT":
                writer._transactions.execute = execute
                raise sqlite3.OperationalError("disk I/O error")
            return execute(statement, parameters)

        writer._transactions.execute = failing  # type: ignore[assignment]

    async with opened(path) as world:
        await world.make(ALICE, BOB)
        assert isinstance(world.store, SqliteStore)
        await world.store._writer.run(fail_commit)
        with pytest.raises(StoreUnavailable) as caught:
            await world.store.append([post("a")])
        assert caught.value.maybe_stored
        (again,) = await world.post(post("a"))
        assert (again.message.seq, again.duplicate) == (2, False)


async def test_another_programs_writes_are_noticed(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        await world.fill(1)
        with closing(sqlite3.connect(path, isolation_level=None)) as tool:
            tool.execute("DELETE FROM members WHERE user_no = (SELECT user_no FROM users WHERE user_id = 'bob')")
        assert not await world.post(post("a", BOB))


async def test_the_memory_of_matches_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "MATCHES_KEPT", 2)
    names = [f"m{number}" for number in range(5)]
    async with opened(path) as world:
        for name in names:
            await world.make(ALICE, BOB, match=name)
        for round_ in range(3):
            outcomes = await world.post(*(post(f"{round_}", match=name) for name in names))
            assert [o.message.seq for o in outcomes] == [round_ + 2] * 5


# ---- threads


async def test_threads_end_with_the_store(path: Path) -> None:
    before = set(threading.enumerate())  # Not how many: another test's may be ending.
    async with opened(path) as world:
        own = set(threading.enumerate()) - before
        assert len(own) == 3
        await asyncio.gather(world.store.close(), world.store.close())
    for thread in own:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


async def test_what_was_given_before_closing_is_done(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        given = [asyncio.ensure_future(_append(world, f"{n}")) for n in range(20)]
        await asyncio.sleep(0)
        await world.store.close()
        assert [outcome.message.seq for outcome in await asyncio.gather(*given)] == list(range(2, 22))
        with pytest.raises(StoreUnavailable, match="closed"):
            await world.store.members([M])
        with pytest.raises(StoreUnavailable, match="closed"):
            await world.store.append([post("late")])


async def _append(world: World, name: str) -> Appended:
    (outcome,) = await world.store.append([post(name)])
    return stored(outcome)


async def test_a_call_that_was_given_up_before_it_began_is_not_done(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        begun, go_on = threading.Event(), threading.Event()
        assert isinstance(world.store, SqliteStore)

        def stand_still(_: Writer) -> None:
            begun.set()
            go_on.wait(30)

        blocking = asyncio.ensure_future(world.store._writer.run(stand_still))
        await asyncio.to_thread(begun.wait, 30)
        given_up = asyncio.ensure_future(_append(world, "never"))
        await asyncio.sleep(0)
        given_up.cancel()
        blocking.cancel()
        await asyncio.gather(given_up, blocking, return_exceptions=True)
        go_on.set()
        (outcome,) = await world.post(post("a"))
        assert outcome.message.seq == 2


async def test_more_than_can_wait_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as world:
        monkeypatch.setattr(sqlite_thread, "JOBS_MAX", 0)
        with pytest.raises(StoreUnavailable, match="too much waits"):
            await world.store.match(M)


def test_a_loop_that_ended_before_its_store_does_no_harm(path: Path) -> None:
    async def open_only() -> SqliteStore:
        return await SqliteStore.open(path, FakeClock())

    store = asyncio.run(open_only())
    store._writer.give_up()
    for reader in store._readers:
        reader.give_up()
    for thread in threading.enumerate():
        if thread.name.startswith("store-"):
            thread.join(10)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("store-")]


async def test_reads_go_on_while_a_write_is_under_way(path: Path) -> None:
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        await writer_job(world, "BEGIN IMMEDIATE")
        assert (await world.state()).last_seq == 1
        await writer_job(world, "ROLLBACK")


async def test_marks_and_pages_of_a_copy_agree(path: Path, tmp_path: Path) -> None:
    """A file that was copied after closing is a whole store."""
    async with opened(path) as world:
        await world.make(ALICE, BOB)
        await world.fill(5)
        await world.store.mark([Mark(M, BOB, Seq(3), Seq(3))])
    copy = tmp_path / "copy"
    shutil.copy(path, copy)
    async with opened(copy) as world:
        (page,) = await world.store.welcome([BOB], 9)
        assert page.matches[0].unread == 3
        assert (await world.store.match(MatchId("other"))) is None
        assert (await world.store.summaries(BOB, Micros(0), 9)).matches == ()
