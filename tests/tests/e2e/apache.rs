//! The same behind Apache, with the file of `deploy/httpd`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use chaffer_tests::{Api, PATIENCE, Process, Scene, Setup, Shop, Stack, free_port, signal, until};
use serde_json::json;

use crate::cast::{id_of, product, vendor};
use crate::deployment::{
    BACKEND, deployed, nothing_internal_is_reached, only_the_backends_address_counts,
};
use crate::load::Load;

stories!(r15_apache_does_as_well_as_nginx);

async fn r15_apache_does_as_well_as_nginx(scene: &Scene) -> Result<()> {
    let port = free_port()?;
    let setup = Setup::new(scene)?
        .set("api.trusted_ips", vec![BACKEND])
        .set("api.websocket_url", format!("ws://127.0.0.1:{port}/wss"));
    let mut stack = setup.start(scene).await?;
    let mut apache = apache(&stack, port)?;
    apache.start()?;
    let base = format!("http://127.0.0.1:{port}/chat");
    let backend = Api::with_source(&base, Some(BACKEND.parse()?))?;
    until("the API is ready behind Apache", async || {
        ensure!(apache.is_running(), "{}", apache.output());
        Ok(backend.get("/readyz").await?.status == 200)
    })
    .await?;
    only_the_backends_address_counts(&stack, &base).await?;

    let shop = Shop::new(&backend, &stack.key);
    shop.vendor("v1", vendor("One")).await?;
    // An id with a slash is another one than that without.
    shop.user("a%2Fb", json!({"role": "customer", "name": "Slash"})).await?;
    assert_eq!(shop.get("/v1/users/a%2Fb").await?.expect(200)?["id"], "a/b");
    let buyer = shop.new_person("buyer", json!({"role": "customer", "name": "B"})).await?;
    let admin = json!({"role": "vendor_admin", "name": "S", "vendor_id": "v1"});
    let seller = shop.new_person("seller", admin).await?;
    let body = json!({"subject": product("p1"), "vendor_id": "v1"});
    let thread = shop.acting("buyer").post("/v1/threads", body).await?.expect(201)?;
    let thread = id_of(&thread)?;
    let by_wss = seller.listen().await?;
    let by_ws = seller.with_websocket(&format!("ws://127.0.0.1:{port}/ws")).listen().await?;
    // Without an upgrade the daemon says what is missing.
    let plain = Api::new(&format!("http://127.0.0.1:{port}"))?.get("/ws").await?;
    ensure!(plain.status == 426 && plain.text.contains("Upgrade"), "{plain}");

    nothing_internal_is_reached(port, &stack.internal_bearer()?).await?;

    // Upgrades refuse nobody here, either.
    let load = Load::start(&buyer, thread, 2);
    load.takes(50).await?;
    for daemon in [&mut stack.api, &mut stack.push] {
        signal(daemon.pid()?, "USR2")?;
        until("the successor listens", async || {
            ensure!(daemon.is_running(), "it ended: {}", daemon.output());
            Ok(daemon.output().matches("listening").count() > 1)
        })
        .await?;
        load.takes(50).await?;
    }
    let posted = load.stop().await?;
    ensure!(posted.refusals.is_empty(), "{:?}", posted.refusals);
    posted.reached(&by_wss).await?;
    posted.reached(&by_ws).await?;
    apache.stop(PATIENCE).await?;
    Ok(())
}

fn apache(stack: &Stack, port: u16) -> Result<Process> {
    let folder = stack.folder();
    let here = folder.display();
    let upstreams = BTreeMap::from([
        ("127.0.0.1:8090", format!("127.0.0.1:{}", stack.ports.api)),
        ("127.0.0.1:8091", format!("127.0.0.1:{}", stack.ports.websocket)),
    ]);
    let host = deployed(folder, "httpd/chaffer.conf", &upstreams)?;
    let modules: String = ["mpm_event", "authz_core", "proxy", "proxy_http", "headers"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    let main = folder.join("apache.conf");
    std::fs::write(
        &main,
        format!(
            "{modules}ServerRoot {here}\nServerName shop.example\nListen 127.0.0.1:{port}\nPidFile {here}/apache.pid\n\
             Mutex posixsem\nUser www-data\nGroup www-data\nErrorLog {here}/apache-error.log\n\
             <VirtualHost *:{port}>\nInclude {}\n</VirtualHost>\n",
            host.display()
        ),
    )?;
    Ok(Process::new("apache2", folder, folder.join("apache.log")).args([
        "-D".to_owned(),
        "FOREGROUND".into(),
        "-f".into(),
        main.display().to_string(),
    ]))
}
