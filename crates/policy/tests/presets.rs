//! What the presets open: the requests that the usual clients send, and not the next thing to them. A preset that
//! publishes is asked together with the one that reads, as it says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chiton_policy::{Intent, Policy, compile, decide, model::Preset};

fn of(names: &[&str]) -> Policy {
    let preset = |name: &&str| Preset::ALL.into_iter().find(|preset| preset.as_str() == *name).unwrap();
    let policies = names.iter().map(|name| Policy::parse(preset(name).text()).unwrap());
    policies.reduce(Policy::inheriting).unwrap()
}

/// Requests that pass by the presets of one list, and those that do not.
fn opens(presets: &[&str], allowed: &[&str], refused: &[&str]) {
    let compiled = compile(&of(presets));
    let passes =
        |request: &str| decide(&compiled, &Intent::from_request_line(request).unwrap()).into_permit().is_ok();
    for request in allowed {
        assert!(passes(request), "{presets:?} refuse {request}");
    }
    for request in refused {
        assert!(!passes(request), "{presets:?} allow {request}");
    }
}

#[test]
fn github() {
    let written = [
        "POST https://github.com/o/r.git/git-receive-pack",
        "POST https://github.com/o/r.git/info/lfs/locks/verify",
        "POST https://api.github.com/repos/o/r/pulls",
        "PUT https://api.github.com/repos/o/r/pulls/1/merge",
        "POST https://api.github.com/repos/o/r/issues/1/comments",
        "PUT https://api.github.com/repos/o/r/contents/docs/a.md",
        "POST https://api.github.com/repos/o/r/git/refs",
        "POST https://api.github.com/repos/o/r/releases",
        "POST https://uploads.github.com/repos/o/r/releases/1/assets?name=a.tar.gz",
    ];
    let never = [
        "POST https://api.github.com/graphql",
        "PUT https://api.github.com/repos/o/r/actions/secrets/X",
        "POST https://api.github.com/repos/o/r/hooks",
        "POST https://api.github.com/repos/o/r/keys",
        "PATCH https://api.github.com/repos/o/r",
        "DELETE https://api.github.com/repos/o/r",
        "DELETE https://api.github.com/repos/o/r/contents/a",
        "POST https://api.github.com/user/repos",
        "POST https://github.com/login/oauth/access_token",
        "PUT https://github-cloud.s3.amazonaws.com/alambic/media/1/x",
    ];
    opens(
        &["github-read"],
        &[
            "GET https://github.com/o/r.git/info/refs?service=git-upload-pack",
            "POST https://github.com/o/r.git/git-upload-pack",
            "POST https://github.com/o/r/git-upload-pack",
            "POST https://github.com/o/r.git/info/lfs/objects/batch",
            "GET https://github-cloud.githubusercontent.com/alambic/media/1/a/b/c?X-Amz-Date=1",
            "GET https://media.githubusercontent.com/media/o/r/main/a.bin",
            "GET https://raw.githubusercontent.com/o/r/main/a",
            "GET https://codeload.github.com/o/r/tar.gz/refs/tags/v1",
            "GET https://github.com/o/r/releases/download/v1/a.tar.gz",
            "GET https://release-assets.githubusercontent.com/x",
            "GET https://api.github.com/repos/o/r/releases/latest",
            "HEAD https://api.github.com/repos/o/r",
        ],
        &[&written[..], &never].concat(),
    );
    opens(&["github-write", "github-read"], &written, &never);
}

#[test]
fn npm() {
    let written = [
        "PUT https://registry.npmjs.org/left-pad",
        "PUT https://registry.npmjs.org/@scope%2fname",
        "PUT https://registry.npmjs.org/@scope/name",
        "PUT https://registry.npmjs.org/-/package/left-pad/dist-tags/latest",
        "PUT https://registry.npmjs.org/-/package/@scope%2fname/dist-tags/latest",
        "DELETE https://registry.npmjs.org/-/package/@scope%2Fname/dist-tags/next",
    ];
    let never = [
        "PUT https://registry.npmjs.org/-/user/org.couchdb.user:x",
        "PUT https://registry.npmjs.org/-/whatever",
        "POST https://registry.npmjs.org/-/npm/v1/tokens",
        "PUT https://registry.npmjs.org/-/org/o/user",
        "DELETE https://registry.npmjs.org/left-pad/-rev/1",
        "DELETE https://registry.npmjs.org/left-pad",
    ];
    opens(
        &["npm-install"],
        &[
            "GET https://registry.npmjs.org/left-pad",
            "GET https://registry.npmjs.org/@scope%2fname",
            "GET https://registry.npmjs.org/@scope/name/-/name-1.0.0.tgz",
            "GET https://registry.npmjs.org/-/npm/v1/keys",
            "POST https://registry.npmjs.org/-/npm/v1/security/advisories/bulk",
        ],
        &[&written[..], &never].concat(),
    );
    opens(&["npm-publish", "npm-install"], &written, &never);
}

#[test]
fn pypi() {
    opens(
        &["pypi-install"],
        &[
            "GET https://pypi.org/simple/",
            "GET https://pypi.org/simple/requests/",
            "GET https://pypi.org/pypi/requests/json",
            "GET https://pypi.org/pypi/requests/2.0/json",
            "GET https://files.pythonhosted.org/packages/a/b/c.whl.metadata",
        ],
        &[
            "POST https://pypi.org/simple/",
            "GET https://pypi.org/manage/",
            "POST https://upload.pypi.org/legacy/",
        ],
    );
    opens(
        &["pypi-publish", "pypi-install"],
        &["POST https://upload.pypi.org/legacy/"],
        &["POST https://pypi.org/_/oidc/mint-token", "POST https://upload.pypi.org/other"],
    );
}

#[test]
fn crates() {
    let written = [
        "PUT https://crates.io/api/v1/crates/new",
        "DELETE https://crates.io/api/v1/crates/serde/1.0.0/yank",
        "PUT https://crates.io/api/v1/crates/serde/1.0.0/unyank",
    ];
    let never = [
        "PUT https://crates.io/api/v1/crates/serde/owners",
        "POST https://crates.io/api/v1/trusted_publishing/tokens",
    ];
    opens(
        &["crates-install"],
        &[
            "GET https://index.crates.io/config.json",
            "GET https://index.crates.io/se/rd/serde",
            "GET https://static.crates.io/crates/serde/1.0.0/download",
            "GET https://crates.io/api/v1/crates?q=serde",
            "GET https://crates.io/api/v1/crates/serde/1.0.0/download",
        ],
        &[&written[..], &never].concat(),
    );
    opens(&["crates-publish", "crates-install"], &written, &never);
}

#[test]
fn debian() {
    opens(
        &["debian-install"],
        &[
            "GET http://deb.debian.org/debian/dists/trixie/InRelease",
            "GET https://deb.debian.org/debian/pool/main/a/a/a.deb",
            "GET http://security.debian.org/debian-security/dists/trixie-security/InRelease",
        ],
        &["POST http://deb.debian.org/debian/", "GET http://deb.debian.org:8080/"],
    );
}

#[test]
fn docker() {
    let written = [
        "POST https://registry-1.docker.io/v2/o/r/blobs/uploads/",
        "PATCH https://registry-1.docker.io/v2/o/r/blobs/uploads/1?_state=x",
        "PUT https://registry-1.docker.io/v2/o/r/manifests/latest",
    ];
    let never = [
        "DELETE https://registry-1.docker.io/v2/o/r/manifests/latest",
        "POST https://hub.docker.com/v2/users/login",
    ];
    opens(
        &["docker-pull"],
        &[
            "GET https://registry-1.docker.io/v2/",
            "GET https://auth.docker.io/token?service=registry.docker.io&scope=repository:o/r:pull",
            "POST https://auth.docker.io/token",
            "HEAD https://registry-1.docker.io/v2/library/debian/manifests/latest",
            "GET https://registry-1.docker.io/v2/library/debian/blobs/sha256:00",
            "GET https://production.cloudflare.docker.com/registry-v2/x",
            "GET https://docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com/x",
        ],
        &[&written[..], &never].concat(),
    );
    opens(&["docker-push", "docker-pull"], &written, &never);
}

#[test]
fn hugging_face() {
    let written = [
        "POST https://huggingface.co/api/repos/create",
        "POST https://huggingface.co/api/validate-yaml",
        "POST https://huggingface.co/api/models/o/m/preupload/main",
        "POST https://huggingface.co/api/spaces/o/s/commit/main",
        "POST https://huggingface.co/datasets/o/d/git-receive-pack",
        "POST https://cas-server.xethub.hf.co/v1/xorbs/default/00",
        "POST https://cas-server.xethub.hf.co/v1/shards",
        "POST https://cas-server.xethub-eu.hf.co/shards",
    ];
    let never = [
        "DELETE https://huggingface.co/api/repos/delete",
        "PUT https://huggingface.co/api/models/o/m/settings",
        "POST https://huggingface.co/api/spaces/o/s/secrets",
        "POST https://transfer.xethub.hf.co/x",
        "GET https://x.cdn.hf.co.evil.test/",
    ];
    opens(
        &["huggingface-read"],
        &[
            "GET https://huggingface.co/o/m/resolve/main/config.json",
            "GET https://huggingface.co/api/models/o/m/xet-read-token/main",
            "POST https://huggingface.co/api/models/gpt2/paths-info/main",
            "POST https://huggingface.co/api/spaces/o/s/paths-info/main",
            "POST https://huggingface.co/o/m/git-upload-pack",
            "POST https://huggingface.co/datasets/o/d/info/lfs/objects/batch",
            "GET https://datasets-server.huggingface.co/parquet?dataset=o/d",
            "GET https://cdn-lfs-us-1.hf.co/x",
            "GET https://us.aws.cdn.hf.co/xet-bridge-us/x",
            "GET https://us-east1.us.gcp.cdn.hf.co/x",
            "GET https://cas-server.xethub.hf.co/v1/reconstructions/00",
            "GET https://transfer.xethub-eu.hf.co/x",
        ],
        &[&written[..], &never].concat(),
    );
    opens(&["huggingface-write", "huggingface-read"], &written, &never);
}
