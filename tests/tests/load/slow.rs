//! Agents that read or write slowly, or vanish.

use std::time::Duration;

use chiton_testkit::routes::Router;
use chiton_tests::{As, World, http_policy};

use super::{HOST, Held, OPEN, another_is_served, within};

/// Sixteen of each protocol read a byte a second of what has no end, until they are killed.
#[test]
fn slow_readers() {
    let world = World::new(As::User, &[HOST], Router::echo());
    let script = format!(
        "until [ -e begin ]; do sleep 0.05; done
         for n in $(seq 16); do for version in --http1.1 --http2; do
           curl -sS $version --limit-rate 1 -o /dev/null 'https://{HOST}/bytes?n=1000000000000' & echo $! >> readers
         done; done
         sleep 3; touch held; until [ -e go ]; do sleep 0.05; done
         kill -9 $(cat readers); touch gone; sleep 600"
    );
    let held = Held::run(&world.chiton, "readers", &http_policy(OPEN), &["sh", "-c", &script]);
    let (before, descriptors) = (held.memory(), held.descriptors());
    world.chiton.write_workspace("begin", "");
    held.wait_for("held");
    another_is_served(&world);
    let grown = held.memory().saturating_sub(before);
    println!("{grown} KiB for 32 slow readers");
    // Of each body of HTTP/2 a window of 1 MiB may wait, for which the library takes up to twice as much.
    assert!(grown < 48 << 10, "{grown} KiB for 32 slow readers");
    // Each of them is there, and waits.
    assert!(held.descriptors() >= descriptors + 32, "{descriptors} before, {} held", held.descriptors());
    world.chiton.write_workspace("go", "");
    held.wait_for("gone");
    let released = within(Duration::from_secs(10), || held.descriptors() <= descriptors + 8);
    assert!(released, "{descriptors} before, {} after", held.descriptors());
}

/// Heads and bodies that come a byte at a time, and clients that connect and say nothing.
#[test]
fn slow_writers() {
    let world = World::new(As::User, &[HOST], Router::echo());
    let script = r#"
import asyncio, ssl, time
tls = ssl.create_default_context()
HOST = "api.example.com"
async def opened():
    return await asyncio.open_connection(HOST, 443, ssl=tls, server_hostname=HOST)
async def head():
    reader, writer = await opened()
    writer.write(b"GET / HTTP/1.1\r\nhost: api.example.com\r\nx: ")
    answer = asyncio.ensure_future(reader.readline())
    while not answer.done():
        writer.write(b"x")
        await asyncio.wait([answer], timeout=0.5)
    return answer.result().decode().strip()
async def large_head():
    reader, writer = await opened()
    writer.write(b"GET / HTTP/1.1\r\nhost: api.example.com\r\nx: " + b"x" * 60000)
    return (await reader.readline()).decode().strip()
async def hello():
    reader, writer = await asyncio.open_connection(HOST, 443)
    writer.write(b"\x16\x03\x01")
    try: return len(await reader.read(1))
    except ConnectionResetError: return "reset"
async def body():
    reader, writer = await opened()
    writer.write(b"POST /upload HTTP/1.1\r\nhost: api.example.com\r\ncontent-length: 12\r\n\r\n")
    for n in range(12):
        writer.write(b"x")
        await asyncio.sleep(1)
    return (await reader.readline()).decode().strip()
async def all():
    kinds = [head] * 60 + [large_head] * 200 + [hello] * 40 + [body] * 40
    tasks = [asyncio.ensure_future(kind()) for kind in kinds]
    await asyncio.sleep(6)
    open("held", "w").close()
    told = await asyncio.gather(*tasks)
    print({(k.__name__, t): list(zip(kinds, told)).count((k, t)) for k, t in zip(kinds, told)})
time.sleep(1)
asyncio.run(all())
"#;
    world.chiton.write_workspace("slow.py", script);
    let held = Held::run(&world.chiton, "writers", &http_policy(OPEN), &["/usr/bin/python3", "slow.py"]);
    let before = held.memory();
    held.wait_for("held");
    another_is_served(&world);
    let grown = held.memory().saturating_sub(before);
    println!("{grown} KiB for 340 slow writers");
    assert!(grown < 48 << 10, "{grown} KiB for 340 slow writers");
    let outcome = held.ended();
    for told in [
        "('head', 'HTTP/1.1 408 Request Timeout'): 60",
        "('large_head', 'HTTP/1.1 408 Request Timeout'): 200",
        "('hello', 'reset'): 40",
        "('body', 'HTTP/1.1 200 OK'): 40",
    ] {
        assert!(outcome.stdout.contains(told), "{told}: {outcome:?}");
    }
    let events = world.chiton.audit(&["--sandbox", "writers"]);
    let too_slow =
        events.iter().filter(|event| event["action"] == "connect" && event["reason"] == "limit_exceeded");
    assert_eq!(too_slow.count(), 260);
}
