//! The OpenAPI document held to by a tester that has not read our code: schemathesis makes requests from the document
//! alone, right ones and wrong ones, and looks whether each answer is one that the document promises.

use anyhow::{Result, ensure};
use chaffer_tests::{Kind, Process, Scene, installed};

use crate::cast::Cast;

stories!(b5_a_property_based_tester_finds_no_answer_that_the_document_does_not_promise);

/// Requests made for each call by chance, beside those from the examples and the edges of each schema.
const EXAMPLES: &str = "8";

/// What is looked at. Not `positive_data_acceptance`: a schema cannot say that a user has to exist. Nor
/// `ignored_auth`: it drops the header and would have every call of the shop's backend made as nobody, which
/// `roles.rs` does in a table.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,missing_required_header";

/// The shop's backend on SQLite; on MariaDB an administrator, whom other calls are open to.
async fn b5_a_property_based_tester_finds_no_answer_that_the_document_does_not_promise(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    // The lists have something in them.
    let thread = cast.thread("teapot").await?;
    cast.buyer.say(thread, "Does the lid stay on while pouring?").await?;
    let bearer = match scene.kind {
        Kind::Sqlite => cast.stack.new_key("schemathesis").await?,
        Kind::Mariadb => cast.boss.token.clone(),
    };
    let folder = scene.new_folder("schemathesis")?;
    let document = format!("{}/v1/openapi.json", cast.stack.api_url());
    let tester = Process::new(installed("python")?, &folder, folder.join("schemathesis.log"))
        .args([
            "-c",
            "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
        ])
        .args(
            ["run", &document, "--header", &format!("Authorization: Bearer {bearer}")]
                .map(str::to_owned),
        )
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .args(["--checks", CHECKS, "--suppress-health-check", "all", "--no-shrink"])
        .args(["--continue-on-failure", "--request-timeout", "60", "--warnings", "off"]);
    let (status, output, errors) = tester.outcome().await?;
    ensure!(status.success(), "{output}\n{errors}");
    ensure!(output.contains("Test cases:"), "nothing was asked: {output}\n{errors}");
    Ok(())
}
