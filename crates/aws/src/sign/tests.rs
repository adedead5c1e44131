//! Against the signatures that Amazon publishes: its test suite of Signature Version 4, and S3's own examples.

use std::time::{Duration, SystemTime};

use chiton_secret::SecretValue;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;

fn key(id: &str, secret: &str, token: Option<&str>) -> Credentials {
    let secret_of = |text: &str| SecretValue::new(text.as_bytes().to_vec());
    Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret_of(secret),
        session_token: token.map(secret_of),
        expires: None,
    }
}

fn at(text: &str) -> SystemTime {
    let seconds = text.parse::<jiff::Timestamp>().unwrap().as_second();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn authorization(signed: &Signed) -> String {
    let found = signed.headers.iter().find(|(name, _)| *name == header::AUTHORIZATION);
    found.unwrap().1.to_str().unwrap().to_owned()
}

/// Fields.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Of the suite: its key, its day, its service.
struct Suite {
    token: Option<&'static str>,
    method: Method,
    body: &'static [u8],
}

const PLAIN: Suite = Suite { token: None, method: Method::GET, body: b"" };

impl Suite {
    fn signed(&self, target: &str, pairs: &[(&str, &str)]) -> Signed {
        self.with(target, pairs, |signer, request, at| signer.sign(request, at).unwrap())
    }

    fn with<T>(
        &self,
        target: &str,
        pairs: &[(&str, &str)],
        then: impl FnOnce(Signer<'_>, &ToSign<'_>, SystemTime) -> T,
    ) -> T {
        let credentials = key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", self.token);
        let scope = Scope::new("us-east-1", "service").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = headers(pairs);
        let payload = Payload::of(self.body);
        let host = "example.amazonaws.com";
        let request = ToSign { method: &self.method, host, path, query, headers: &headers, payload };
        then(Signer::new(&credentials, &scope), &request, at("2015-08-30T12:36:00Z"))
    }
}

#[test]
fn the_published_suite_by_fields() {
    let letters = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let unreserved = format!("/{letters}");
    let unreserved_query = format!("/?{letters}={letters}");
    let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let cases: [(&str, Pairs, &str); 16] = [
        ("/", &[], vanilla),
        ("/example1/example2/../..", &[], vanilla),
        ("/./example", &[], "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
        ("//example//", &[], "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        ("/example space/", &[], "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        (&unreserved, &[], "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("/ሴ", &[], "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        (
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            &[],
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "/?Param2=value2&Param1=value1",
            &[],
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (&unreserved_query, &[], "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        ("/?ሴ=bar", &[], "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        (
            "/",
            &[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "/",
            &[
                ("My-Header1", "value4"),
                ("My-Header1", "value1"),
                ("My-Header1", "value3"),
                ("My-Header1", "value2"),
            ],
            "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        ),
        (
            "/",
            &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        // What was signed before by another is passed over.
        ("/", &[("Authorization", "Bearer x"), ("X-Amz-Date", "1"), ("Host", "a.example")], vanilla),
        ("/", &[("X-Amz-Security-Token", "of the agent")], vanilla),
    ];
    for (target, pairs, signature) in cases {
        let signed = PLAIN.signed(target, pairs);
        assert_eq!(signed.signature(), signature, "{target} {pairs:?}");
    }
    let post = Suite { method: Method::POST, ..PLAIN };
    let signed = post.signed("/", &[("My-Header1", "value1")]);
    assert_eq!(
        authorization(&signed),
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;my-header1;x-amz-date, \
         Signature=c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"
    );
}

#[test]
fn the_published_suite_with_a_body_and_with_a_token() {
    let form = Suite { method: Method::POST, body: b"Param1=value1", ..PLAIN };
    let pairs = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Length", "13"),
        ("x-amz-content-sha256", "another's"),
    ];
    let signed = form.signed("/", &pairs);
    assert_eq!(signed.signature(), "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b");
    let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    let with_token = Suite { token: Some(token), ..PLAIN };
    let signed = with_token.signed("/", &[]);
    assert_eq!(signed.signature(), "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8");
    assert!(signed.headers.contains(&(TOKEN, HeaderValue::from_static(token))));
    assert!(!format!("{signed:?}").contains(token), "{signed:?}");
}

#[test]
fn the_published_suite_by_the_query() {
    let hour = Duration::from_secs(3600);
    let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    for (token, target, signature) in [
        (None, "/", "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"),
        (
            None,
            "/?X-Amz-Signature=1&X-Amz-Credential=agent%2F1&x-amz-date=2",
            "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d",
        ),
        (Some(token), "/", "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"),
    ] {
        let suite = Suite { token, ..PLAIN };
        let query = suite.with(target, &[], |signer, request, at| signer.presign(request, at, hour).unwrap());
        assert!(query.ends_with(&format!("&X-Amz-Signature={signature}")), "{query}");
        assert_eq!(query.matches("X-Amz-Credential").count(), 1, "{query}");
    }
}

/// Amazon S3, "Authenticating Requests": its key, its bucket, its day.
fn s3(
    method: Method,
    path: &str,
    pairs: &[(&str, &str)],
    payload: Payload,
    then: impl FnOnce(Signer<'_>, &ToSign<'_>, SystemTime),
) {
    let credentials = key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None);
    let scope = Scope::new("us-east-1", "s3").unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (host, headers) = ("examplebucket.s3.amazonaws.com", headers(pairs));
    let host = if method == Method::PUT && payload == Payload::Chunks { "s3.amazonaws.com" } else { host };
    let request = ToSign { method: &method, host, path, query, headers: &headers, payload };
    then(Signer::new(&credentials, &scope), &request, at("2013-05-24T00:00:00Z"));
}

#[test]
fn the_published_examples_of_s3() {
    for (target, pairs, signature) in [
        (
            "/test.txt",
            &[("Range", "bytes=0-9")][..],
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        ("/?lifecycle", &[], "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", &[], "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ] {
        s3(Method::GET, target, pairs, Payload::of(b""), |signer, request, at| {
            assert_eq!(signer.sign(request, at).unwrap().signature(), signature, "{target}");
        });
    }
    let body = Payload::of(b"Welcome to Amazon S3.");
    let pairs = [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    for path in ["/test%24file.text", "/test$file.text"] {
        s3(Method::PUT, path, &pairs, body, |signer, request, at| {
            let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
            assert_eq!(signer.sign(request, at).unwrap().signature(), signature, "{path}");
        });
    }
    s3(Method::GET, "/test.txt", &[], Payload::Unsigned, |signer, request, at| {
        let query = signer.presign(request, at, Duration::from_secs(86400)).unwrap();
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(query.ends_with(signature), "{query}");
    });
}

#[test]
fn the_published_example_of_chunks() {
    let pairs = [
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("Content-Length", "66824"),
    ];
    s3(Method::PUT, "/examplebucket/chunkObject.txt", &pairs, Payload::Chunks, |signer, request, at| {
        let signed = signer.sign(request, at).unwrap();
        assert_eq!(signed.signature(), "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        let mut chunks = signed.into_chunks();
        for (length, signature) in [
            (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            assert_eq!(chunks.chunk(sha256(&vec![b'a'; length])), signature, "{length}");
        }
    });
}

#[test]
fn the_published_example_of_a_trailer() {
    let pairs = [
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
    ];
    let credentials = key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None);
    let scope = Scope::new("us-east-1", "s3").unwrap();
    let (host, headers) = ("s3.amazonaws.com", headers(&pairs));
    let (path, query, payload) = ("/examplebucket/chunkObject.txt", "", Payload::ChunksAndTrailer);
    let request = ToSign { method: &Method::PUT, host, path, query, headers: &headers, payload };
    let signed = Signer::new(&credentials, &scope).sign(&request, at("2013-05-24T00:00:00Z")).unwrap();
    assert_eq!(signed.signature(), "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
    let mut chunks = signed.into_chunks();
    for (length, signature) in [
        (65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        (1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        (0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    ] {
        assert_eq!(chunks.chunk(sha256(&vec![b'a'; length])), signature, "{length}");
    }
    assert_eq!(
        chunks.trailer("x-amz-checksum-crc32c:sOO8/Q==\n"),
        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    );
}

#[test]
fn what_a_request_claims() {
    let scope = Scope::new("eu-west-1", "s3").unwrap();
    let field = "AWS4-HMAC-SHA256 Credential=AGENT/20150830/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=1";
    let claim = Claim::of(&headers(&[("authorization", field)]), "a=b").unwrap();
    assert_eq!((claim.access_key_id.as_str(), &claim.scope, claim.in_query), ("AGENT", &scope, false));
    let query = "a=b&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AGENT%2F20150830%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Signature=1&c";
    let claim = Claim::of(&HeaderMap::new(), query).unwrap();
    assert_eq!((&claim.scope, claim.in_query), (&scope, true));
    assert_eq!(without_signature(query), "a=b&c");
    for (pairs, query) in [
        (&[][..], ""),
        (&[("authorization", "Bearer x")], ""),
        (&[("authorization", field)], query),
        (&[("authorization", field), ("authorization", field)], ""),
        (&[], &query.replace("AWS4-HMAC", "AWS4-ECDSA")),
        (&[], &query.replace("eu-west-1", "eu%20west-1")),
        (&[("authorization", "AWS4-HMAC-SHA256 Credential=A/1/r/s/aws4_request/more")], ""),
    ] {
        assert_eq!(Claim::of(&headers(pairs), query), None, "{pairs:?} {query}");
    }
}

#[test]
fn payloads_are_read_as_they_are_written() {
    for payload in [
        Payload::of(b"x"),
        Payload::Unsigned,
        Payload::Chunks,
        Payload::ChunksAndTrailer,
        Payload::UnsignedChunks,
    ] {
        assert_eq!(Payload::parse(&payload.text()), Some(payload));
    }
    for text in ["", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "ab", &"zz".repeat(32)] {
        assert_eq!(Payload::parse(text), None);
    }
}

/// Signed by botocore 1.44 with the suite's key, a token `tok/en==`, and a content type.
#[test]
fn paths_that_are_encoded_are_signed_as_botocore_signs_them() {
    let credentials = key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Some("tok/en=="));
    let headers = headers(&[("content-type", "application/json")]);
    for (service, host, target, body, signature) in [
        (
            "bedrock",
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/us.anthropic.claude-opus-4%3A0/invoke",
            &b"{\"a\":1}"[..],
            "71df2b198ae83699dfcf18fdb8de07131da9b2d43c51473936a0fc670e79b85a",
        ),
        (
            "execute-api",
            "x.execute-api.us-east-1.amazonaws.com:8443",
            "/a/%C3%A9%20b;c/?q=a%20b&q=&Q=%2F~",
            b"",
            "be0fe7ff587c60ce91e7369aac1a44c1b3911e81d029c1deae4055dc893b3e3a",
        ),
        (
            "s3",
            "b.s3.us-east-1.amazonaws.com",
            "/a%20b//../%C3%A9%2B?list-type=2&prefix=x%20y%2Fz&delimiter=%2F",
            b"",
            "b4feff05d395d4b0712f93d91a797ae715fb9705c105eb6ac0eecffee0d0bf96",
        ),
    ] {
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        let scope = Scope::new("us-east-1", service).unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let payload = Payload::of(body);
        let request = ToSign { method: &method, host, path, query, headers: &headers, payload };
        let signed = Signer::new(&credentials, &scope).sign(&request, at("2026-11-28T10:00:00Z"));
        assert_eq!(signed.unwrap().signature(), signature, "{service}");
    }
}
