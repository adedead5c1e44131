//! The captured network, from inside: everything arrives at the listeners, or is dropped and told of.

mod harness;

use harness::{Setup, kinds};

const PYTHON: &str = "/usr/bin/python3";

#[test]
fn every_connection_arrives_with_where_it_was_going() {
    for who in kinds() {
        let out = Setup::new(who).sh(
            "for u in http://1.2.3.4/ http://93.184.216.34:8443/ http://[2001:db8::5]:81/ http://10.0.0.1:22/ \
             http://169.254.169.254/ http://[::ffff:5.6.7.8]/; do curl -gsm 5 $u; done",
        );
        let expected = [
            "1.2.3.4:80",
            "93.184.216.34:8443",
            "[2001:db8::5]:81",
            "10.0.0.1:22",
            "169.254.169.254:80",
            "5.6.7.8:80",
        ];
        let expected: String = expected.iter().map(|at| format!("captured Ok({at})\n")).collect();
        assert_eq!(out.text, expected);
    }
}

#[test]
fn an_end_that_was_changed_on_the_way_is_told() {
    for who in kinds() {
        let out = Setup::new(who).run(&[
            PYTHON,
            "-c",
            "
import socket
for family, own, to in ((socket.AF_INET, '127.0.0.1', '10.0.0.1'), (socket.AF_INET6, '::1', '2001:db8::1')):
    port = 0
    kept = []
    for other in (80, 81):
        s = socket.socket(family); s.settimeout(5); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((own, port)); s.connect((to, other)); port = s.getsockname()[1]; kept.append(s)
        s.sendall(b'x'); print(s.recv(4096).decode().splitlines()[-1])
",
        ]);
        let expected = "captured Ok(10.0.0.1:80)\ncaptured Ok(10.0.0.1:81), with another end\n\
                        captured Ok([2001:db8::1]:80)\ncaptured Ok([2001:db8::1]:81), with another end\n";
        assert_eq!(out.text, expected);
    }
}

#[test]
fn the_agents_own_loopback_is_its_own() {
    for who in kinds() {
        let out = Setup::new(who).run(&[PYTHON, "-c", "
import socket; socket.setdefaulttimeout(5)
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET, '127.9.9.9'), (socket.AF_INET6, '::1')):
    server = socket.socket(family); server.bind((address, 0)); server.listen()
    client = socket.create_connection(server.getsockname()[:2]); client.sendall(b'own')
    print(server.accept()[0].recv(3).decode())
"]);
        assert_eq!(out.text, "own\nown\nown\n");
    }
}

/// A server of the agent's own is not reached by a name, whatever it listens on.
#[test]
fn no_server_inside_takes_what_goes_elsewhere() {
    for who in kinds() {
        let out = Setup::new(who).run(&[
            PYTHON,
            "-c",
            "
import socket; socket.setdefaulttimeout(5)
for family, address, to in ((socket.AF_INET, '0.0.0.0', '10.0.0.1'), (socket.AF_INET, '10.0.0.2', '10.0.0.2'),
                            (socket.AF_INET6, '::', '2001:db8::1')):
    server = socket.socket(family); server.bind((address, 0)); server.listen(); server.setblocking(False)
    for _ in range(2):
        client = socket.create_connection((to, server.getsockname()[1])); client.sendall(b'x')
        print(client.recv(4096).decode().splitlines()[-1].split()[0])
    try:
        print(server.accept())
    except BlockingIOError:
        print('nobody came')
",
        ]);
        assert_eq!(out.text, "captured\ncaptured\nnobody came\n".repeat(3));
    }
}

/// Where nothing turned it a connection could be made to itself. And two sockets that connect to each other's ends could
/// meet: the second one's packets, which the kernel takes for answers on the first one's way, are dropped.
#[test]
fn no_socket_that_connects_takes_what_goes_elsewhere() {
    for who in kinds() {
        let out = Setup::new(who).run(&[
            PYTHON,
            "-c",
            "
import socket; socket.setdefaulttimeout(2)
def told(s, to):
    try:
        s.connect(to); s.sendall(b'x'); return s.recv(4096).decode().splitlines()[-1].split()[0]
    except OSError:
        return 'nobody'
def bound(*end):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(end); return s
print(told(bound('203.0.113.5', 5555), ('203.0.113.5', 5555)))
full = bound('127.0.0.1', 7000); full.listen(0); kept = [socket.socket() for _ in range(4)]
for s in kept: s.setblocking(False); s.connect_ex(('127.0.0.1', 7000))
other = bound('203.0.113.5', 8443); other.setblocking(False); other.connect_ex(('127.0.0.1', 7000))
full.close(); [s.close() for s in kept]
one = bound('127.0.0.1', 7000); print(told(one, ('203.0.113.5', 8443)))
try:
    print('taken:', other.recv(4096))
except OSError:
    print('not taken')
",
        ]);
        let told: Vec<_> = out.text.lines().filter(|line| !line.starts_with("dropped")).collect();
        assert_eq!(told, ["captured", "nobody", "not taken"], "{out:?}");
    }
}

#[test]
fn dns_by_udp_and_by_tcp_is_answered_whoever_is_asked() {
    for who in kinds() {
        let out = Setup::new(who).run(&[PYTHON, "-c", "
import socket; socket.setdefaulttimeout(5)
question = b'\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x03foo\\x03com\\x00\\x00\\x01\\x00\\x01'
for family, server in ((socket.AF_INET, '198.18.0.2'), (socket.AF_INET, '8.8.8.8'), (socket.AF_INET6, '2001:db8::1')):
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(question, (server, 53))
    answer, who = s.recvfrom(512)
    print(who[0] == server, answer[-4:].hex())
s = socket.create_connection(('8.8.8.8', 53)); s.sendall(question); print(s.recv(4096).decode().splitlines()[-1])
print(socket.getaddrinfo('example.com', 80)[0][4][0])
"]);
        let answer = "True c6120107\n".repeat(3);
        assert_eq!(out.text, format!("{answer}dns Ok(8.8.8.8:53)\n198.18.1.7\n"));
    }
}

#[test]
fn all_else_is_dropped_and_told_of() {
    for who in kinds() {
        let out = Setup::new(who).run(&[
            PYTHON,
            "-c",
            "
import socket; socket.setdefaulttimeout(5)
for family, address in ((socket.AF_INET, '9.9.9.9'), (socket.AF_INET6, '2001:db8::1')):
    s = socket.socket(family, socket.SOCK_DGRAM)
    try:
        s.sendto(b'x', (address, 443)); print('sent')
    except PermissionError:
        print('refused')
",
        ]);
        assert_eq!(out.text.matches("refused").count(), 2, "{out:?}");
        assert_eq!(out.text.matches("dropped a packet").count(), 2, "{out:?}");
        assert!(!out.text.contains("sent"), "{out:?}");
    }
}

#[test]
fn there_is_no_way_to_another_device() {
    for who in kinds() {
        let out = Setup::new(who).run(&[PYTHON, "-c", "
import socket; socket.setdefaulttimeout(5)
print([name for _, name in socket.if_nameindex()])
for family, kind, protocol in ((2, 3, 1), (10, 3, 58), (17, 3, 3), (40, 1, 0), (38, 5, 0), (16, 3, 12), (1, 2, 0), (2, 1, 262)):
    try:
        socket.socket(family, kind, protocol); print('made', family, kind, protocol)
    except OSError as e:
        print(e.errno)
"]);
        assert_eq!(out.text, format!("['lo']\n{}93\n", "1\n".repeat(7)));
    }
}
