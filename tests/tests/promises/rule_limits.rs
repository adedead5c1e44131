//! `limits` of a rule, from inside: requests in a minute, and a response that is longer than it may be, whether it says
//! so or not.

use chiton_tests::{World, http_policy};

#[test]
fn requests_per_minute() {
    let world = World::echo(&["api.example.com", "other.example.com"]);
    let policy = http_policy(&[
        "{host: api.example.com, name: few, limits: {requests_per_minute: 3}}",
        "{host: other.example.com}",
    ]);
    let script = "code='%{http_code} %header{x-chiton-denied}\\n'; \
        for n in 1 2 3 4; do curl -sS -o said -D head -w \"$code\" https://api.example.com/$n; done; \
        grep -ci '^retry-after: [1-9]' head; grep -o 'allows 3 requests in a minute' said; \
        sh -c \"curl -sS -o /dev/null -w '$code' --http1.1 https://api.example.com/5\"; \
        curl -sS -o /dev/null -w \"$code\" https://other.example.com/6";
    let outcome = world.sh(&policy, script).expect_success();
    let refused = "403 limit_exceeded\n";
    let wanted = format!("200 \n200 \n200 \n{refused}1\nallows 3 requests in a minute\n{refused}200 \n");
    assert_eq!(outcome.stdout, wanted, "{outcome:?}");
    let paths: Vec<_> = world.upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(paths, ["/1", "/2", "/3", "/6"], "refused is untouched");
    let denied = world.chiton.audit(&["--reason", "limit_exceeded"]);
    assert_eq!(denied.len(), 2, "{denied:#?}");
    assert!(denied.iter().all(|event| event["rule"] == "few"), "{denied:#?}");
}

#[test]
fn response_body() {
    let world = World::echo(&["api.example.com"]);
    let policy = http_policy(&["{host: api.example.com, name: small, limits: {response_body: 100KiB}}"]);
    let script = "for v in --http1.1 --http2; do \
        curl -sS $v -o /dev/null -w '%{http_code} %{size_download}\\n' 'https://api.example.com/bytes?n=102400'; \
        curl -sS $v -o /dev/null -w '%{http_code} %header{x-chiton-denied}\\n' 'https://api.example.com/bytes?n=102401'; \
        curl -sS $v -o got 'https://api.example.com/chunked?n=1000' 2>/dev/null \
        && echo whole || echo cut; test $(stat -c %s got) -le 102400 && echo no more; done";
    let outcome = world.sh(&policy, script).expect_success();
    let wanted = "200 102400\n403 limit_exceeded\ncut\nno more\n".repeat(2);
    assert_eq!(outcome.stdout, wanted, "{outcome:?}");
    let of = |action: &str| {
        let events = world.chiton.audit(&["--reason", "limit_exceeded"]);
        events.iter().filter(|event| event["action"] == action && event["rule"] == "small").count()
    };
    assert_eq!((of("request"), of("cut")), (2, 2));
}
