//! Answers DNS questions, by UDP and TCP, from the table of stand-ins alone.

use std::{io, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::{
        DNSClass, RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
};

use super::names::{DnsName, NoStandIn, StandIn, parse_name};
use crate::limits;

/// How long programs may keep an answer. It never changes; short, so that caches stay small.
const TTL: u32 = 300;
const MAX_UDP: usize = 4096;
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Who gives out stand-ins.
pub(crate) trait Resolve: Send + Sync + 'static {
    /// The stand-in for a name.
    fn stand_in(&self, name: &DnsName) -> Result<StandIn, NoStandIn>;
}

/// Serves one UDP socket until it fails.
pub(crate) async fn serve_udp(socket: UdpSocket, names: Arc<impl Resolve>) -> io::Result<()> {
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An earlier answer found nobody.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let question = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = answer(question, &*names) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// Serves one TCP listener until it fails.
pub(crate) async fn serve_tcp(listener: TcpListener, names: Arc<impl Resolve>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(limits::DNS_TCP_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (stream, _) = crate::capture::accept(&listener).await?;
        let names = names.clone();
        tokio::spawn(async move {
            let _ = serve_tcp_connection(stream, &*names).await;
            drop(place);
        });
    }
}

async fn serve_tcp_connection(mut stream: TcpStream, names: &impl Resolve) -> io::Result<()> {
    let mut question = Vec::new();
    loop {
        let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
        question.resize(usize::from(length), 0);
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut question)).await??;
        let Some(answer) = answer(&question, names) else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        stream.write_all(&framed).await?;
    }
}

/// Whether a header announces one question and nothing else, but for EDNS and a signature. Others are not read:
/// thousands of compressed names cost far more than the bytes that hold them.
fn asks_once(message: &[u8]) -> bool {
    matches!(message, [_, _, _, _, 0, 1, 0, 0, 0, 0, 0, 0..=2, ..])
}

/// The answer to one message; none where it is no question at all.
pub(crate) fn answer(question: &[u8], names: &impl Resolve) -> Option<Vec<u8>> {
    let Some(Ok(question)) = asks_once(question).then(|| Message::from_vec(question)) else {
        let id = question.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))?;
        let is_question = question.get(2).is_some_and(|flags| flags & 0x80 == 0);
        let refusal = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
        return is_question.then(|| refusal.to_vec().ok()).flatten();
    };
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&question.metadata);
    reply.metadata.recursion_available = true;
    reply.queries.clone_from(&question.queries);
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        reply.edns = Some(edns);
    }
    match judge(&question, names) {
        Ok(Some(record)) => reply.answers.push(record),
        Ok(None) => {}
        Err(code) => reply.metadata.response_code = code,
    }
    reply.to_vec().ok()
}

fn judge(question: &Message, names: &impl Resolve) -> Result<Option<Record>, ResponseCode> {
    if question.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let [query] = question.queries.as_slice() else { return Err(ResponseCode::FormErr) };
    if query.query_class() != DNSClass::IN {
        return Err(ResponseCode::NotImp);
    }
    let kind = query.query_type();
    if !matches!(kind, RecordType::A | RecordType::AAAA | RecordType::HTTPS | RecordType::SVCB) {
        return Err(ResponseCode::NotImp);
    }
    let name = parse_name(&query.name().to_ascii()).ok_or(ResponseCode::NXDomain)?;
    let data = match kind {
        RecordType::A => RData::A(A(stand_in(names, &name)?.v4())),
        RecordType::AAAA => RData::AAAA(AAAA(stand_in(names, &name)?.v6())),
        _ => return Ok(None),
    };
    Ok(Some(Record::from_rdata(query.name().clone(), TTL, data)))
}

fn stand_in(names: &impl Resolve, name: &DnsName) -> Result<StandIn, ResponseCode> {
    names.stand_in(name).map_err(|(NoStandIn::Exhausted | NoStandIn::NotWritten)| ResponseCode::ServFail)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::{op::Query, rr::Name};

    use super::{super::names::Names, *};

    struct Table(Names);

    impl Resolve for Table {
        fn stand_in(&self, name: &DnsName) -> Result<StandIn, NoStandIn> {
            self.0.stand_in(name, false, || true)
        }
    }

    fn ask(table: &Table, name: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_str(name).unwrap(), kind));
        let bytes = question.to_vec().unwrap();
        Message::from_vec(&answer(&bytes, table).unwrap()).unwrap()
    }

    #[test]
    fn every_name_gets_its_addresses() {
        let table = Table(Names::default());
        let a = ask(&table, "evil.example.", RecordType::A);
        assert_eq!(a.metadata.response_code, ResponseCode::NoError);
        assert_eq!(a.answers[0].data, RData::A(A([198, 18, 1, 0].into())));
        let again = ask(&table, "EVIL.example.", RecordType::AAAA);
        assert_eq!(again.answers[0].data, RData::AAAA(AAAA("fd00:c417::c612:100".parse().unwrap())));
    }

    #[test]
    fn other_types_say_so() {
        let table = Table(Names::default());
        for kind in [RecordType::HTTPS, RecordType::SVCB] {
            let reply = ask(&table, "a.example.", kind);
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert!(reply.answers.is_empty());
        }
        for kind in [RecordType::TXT, RecordType::MX, RecordType::PTR, RecordType::ANY, RecordType::NS] {
            assert_eq!(ask(&table, "a.example.", kind).metadata.response_code, ResponseCode::NotImp);
        }
    }

    #[test]
    fn past_the_quota_it_fails() {
        let table = Table(Names::default());
        for number in 0..limits::STRANGE_NAMES {
            ask(&table, &format!("d{number}.evil.example."), RecordType::A);
        }
        let reply = ask(&table, "data.evil.example.", RecordType::A);
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    }

    #[test]
    fn many_questions_are_not_even_read() {
        let mut bytes = b"\x12\x34\x01\x00\x10\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
        bytes.extend(b"\x01b\xc0\x0c\0\x01\0\x01".repeat(0x1000));
        let reply = answer(&bytes, &Table(Names::default())).unwrap();
        assert!(reply.len() < 64, "{}", reply.len());
        assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
    }

    #[test]
    fn garbage_is_no_question() {
        let table = Table(Names::default());
        assert_eq!(answer(b"", &table), None);
        assert_eq!(answer(b"\x01", &table), None);
        let reply = answer(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff", &table).unwrap();
        assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
    }
}
