//! What a driver declares to keep is kept; what it does not declare is refused by name. `docs/drivers.md` has the table.

use chiton_api::frame::SessionKind;

use super::{
    Case, Fixture,
    sandbox::{POLICY, exec, proxy_config, shell},
};
use crate::{Capabilities, DriverError, Gpu};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "declared: denied paths hold in a live workspace",
        run: |fixture| Box::pin(denied_paths(fixture)),
    },
    Case { name: "declared: connections are captured", run: |fixture| Box::pin(capture(fixture)) },
    Case { name: "declared: a sandbox's system is an image's", run: |fixture| Box::pin(images(fixture)) },
    Case { name: "declared: devices", run: |fixture| Box::pin(devices(fixture)) },
    Case { name: "declared: the table in the documentation", run: |fixture| Box::pin(table(fixture)) },
];

/// A row of the table, and whether a driver declares it.
type Row = (&'static str, fn(&Capabilities) -> bool);

/// In the order of the table.
const ROWS: [Row; 5] = [
    ("live_denied_paths", |declared| declared.live_denied_paths),
    ("transparent_capture", |declared| declared.transparent_capture),
    ("resources", |declared| declared.resources),
    ("gpu", |declared| declared.gpu),
    ("images", |declared| declared.images),
];

async fn denied_paths(fixture: &dyn Fixture) {
    let sandbox = fixture.sandbox();
    let policy = format!("{POLICY}    denied_paths: [/workspace/later]\n");
    let prepared = sandbox.prepare(&policy).await;
    if !sandbox.driver.capabilities().live_denied_paths {
        assert!(matches!(prepared, Err(DriverError::Unsupported(_))), "{prepared:?}");
        return;
    }
    prepared.unwrap();
    let mut main = sandbox.session(shell("echo up; read x; cat later; cat other")).await.unwrap();
    main.until("up").await;
    sandbox.write("later", "denied\n");
    sandbox.write("other", "seen\n");
    main.send(SessionKind::Stdin, b"go\n").await;
    let (output, errors, _) = main.end().await;
    assert!(output.ends_with("seen\n") && !output.contains("denied\n"), "{output}{errors}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn capture(fixture: &dyn Fixture) {
    let sandbox = fixture.sandbox();
    sandbox.driver.create_sandbox(&sandbox.spec).await.unwrap();
    let policy = sandbox.policy(POLICY);
    sandbox.driver.inject_filesystem_policy(&sandbox.handle, policy).await.unwrap();
    // Without what decides over its connections no program starts.
    assert!(sandbox.session(shell("true")).await.is_err());
    sandbox.driver.attach_network_proxy(&sandbox.handle, proxy_config()).await.unwrap();
    let _main = sandbox.session(shell("sleep 1000")).await.unwrap();
    let (output, ..) = sandbox.session(exec(shell("env"))).await.unwrap().end().await;
    let told = output.lines().any(|line| line.to_ascii_lowercase().contains("_proxy="));
    assert_eq!(!told, sandbox.driver.capabilities().transparent_capture, "{output}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

/// One of both is refused: an image, or none.
async fn images(fixture: &dyn Fixture) {
    let mut sandbox = fixture.sandbox();
    let declared = sandbox.driver.capabilities().images;
    assert_eq!(sandbox.spec.image.is_some(), declared);
    sandbox.spec.image = if declared { None } else { Some("busybox".to_owned()) };
    let refused = sandbox.driver.create_sandbox(&sandbox.spec).await.unwrap_err();
    assert!(matches!(refused, DriverError::Unsupported(_)), "{refused:?}");
    assert!(refused.to_string().contains("image"), "{refused}");
    assert!(!sandbox.driver.list().await.unwrap().contains(&sandbox.handle));
}

/// Nothing here has these: one that declares devices says what there is, or what its engine lacks; another, that it has none.
async fn devices(fixture: &dyn Fixture) {
    for asked in [Gpu::Named(vec!["chiton.test/gpu=nowhere".to_owned()]), Gpu::Count(1023)] {
        let mut sandbox = fixture.sandbox();
        sandbox.spec.gpu = asked;
        let refused = sandbox.driver.create_sandbox(&sandbox.spec).await.unwrap_err();
        assert!(matches!(refused, DriverError::Unsupported(_)), "{refused:?}");
        let (text, declared) = (refused.to_string(), sandbox.driver.capabilities().gpu);
        assert!(text.contains("`static.gpu") && !text.contains('\n'), "{text}");
        assert_eq!(text.contains("cannot be given by the driver"), !declared, "{text}");
        assert!(!sandbox.driver.list().await.unwrap().contains(&sandbox.handle));
    }
}

/// Prints it as Markdown, and holds it against the documentation: `yes` and `no`, or where it is so.
async fn table(fixture: &dyn Fixture) {
    const DOCUMENT: &str = include_str!("../../../../docs/drivers.md");
    let sandbox = fixture.sandbox();
    let (driver, declared) = (sandbox.driver.name().to_string(), sandbox.driver.capabilities());
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let mut lines = DOCUMENT.lines().map(cells).filter(|cells| cells.len() > 3);
    let head = lines.find(|cells| cells.contains(&driver)).expect("a table with the driver");
    let column = head.iter().position(|cell| *cell == driver).unwrap();
    println!("| {driver} | |\n|---|---|");
    for (name, of) in ROWS {
        let kept = if of(&declared) { "yes" } else { "no" };
        println!("| `{name}` | {kept} |");
        let row = lines.find(|cells| cells.get(1) == Some(&format!("`{name}`")));
        let told = row.unwrap_or_else(|| panic!("no row for `{name}`")).get(column).unwrap().clone();
        assert!(told == kept || told.starts_with("where "), "`{name}` of {driver}: {told}, but here {kept}");
    }
}
