//! Files in each of the storages, a folder and a bucket: kept, given back, removed with all that takes them along; and what people
//! are told when the storage fails.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{ObjectStorage, PATIENCE, Scene, Setup, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::attachments::{fetch, png, upload};
use crate::cast::{Cast, id_of};

stories!(
    b2_files_are_kept_and_given_back_and_removed_in_each_storage,
    b2_uploads_that_nobody_sends_are_gone_after_a_day,
    b2_a_storage_that_is_down_is_told_and_what_is_to_go_goes_later,
    b6_files_go_with_the_person_and_with_age,
);

/// Where the files of a stack are.
enum Place {
    Folder(PathBuf),
    Bucket(Box<ObjectStorage>),
}

impl Place {
    async fn keys(&self) -> Result<Vec<String>> {
        let folder = match self {
            Self::Bucket(storage) => return storage.keys().await,
            Self::Folder(folder) => folder,
        };
        let mut keys = Vec::new();
        for inner in std::fs::read_dir(folder)?.flatten() {
            let files = std::fs::read_dir(inner.path())?.flatten();
            keys.extend(files.map(|file| file.file_name().to_string_lossy().into_owned()));
        }
        Ok(keys)
    }

    async fn holds(&self, count: usize) -> Result<()> {
        eventually(&format!("{count} files are kept"), PATIENCE, async || {
            let keys = self.keys().await?;
            ensure!(keys.len() == count, "{keys:?}");
            Ok(Some(()))
        })
        .await
    }
}

/// The same people with their files in a folder, and with their files in a bucket.
async fn casts(scene: &Scene) -> Result<[(Cast, Place); 2]> {
    let in_folder = Cast::new(scene).await?;
    let folder = in_folder.stack.folder().join("data/files");
    let storage = ObjectStorage::start(scene).await?;
    let in_bucket = Cast::with(scene, storage.configure(Setup::new(scene)?)).await?;
    Ok([(in_folder, Place::Folder(folder)), (in_bucket, Place::Bucket(Box::new(storage)))])
}

/// Sends a message of the buyer's with a picture and a text; the message, the picture, and the text.
async fn send_both(cast: &Cast, thread: i64) -> Result<(Value, Value, Value)> {
    let picture = upload(&cast.buyer, "mug.png", &png(600, b"")?).await?.expect(201)?;
    let text = upload(&cast.buyer, "notes.txt", b"0123456789").await?.expect(201)?;
    let draft = json!({"attachment_ids": [picture["id"], text["id"]]});
    let said =
        cast.buyer.post(&format!("/v1/threads/{thread}/messages"), draft).await?.expect(201)?;
    Ok((said, picture, text))
}

async fn b2_files_are_kept_and_given_back_and_removed_in_each_storage(scene: &Scene) -> Result<()> {
    for (cast, place) in casts(scene).await? {
        let thread = cast.thread("p1").await?;
        let (said, picture, text) = send_both(&cast, thread).await?;
        let page = cast.seller.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
        let files = &page["messages"][0]["attachments"];
        let (status, bytes) = fetch(&cast, &files[0]["url"]).await?;
        let size = files[0]["size"].as_u64().context("no size")?;
        ensure!(status == 200 && bytes.starts_with(b"\x89PNG"), "{status}");
        assert_eq!(bytes.len(), usize::try_from(size)?);
        let (status, bytes) = fetch(&cast, &files[0]["thumbnail_url"]).await?;
        ensure!(status == 200 && bytes.starts_with(b"\xff\xd8\xff"), "{status}");
        assert_eq!(fetch(&cast, &files[1]["url"]).await?, (200, b"0123456789".to_vec()));
        let url = files[1]["url"].as_str().context("no address")?;
        let part = cast.stack.anonymous()?;
        let part = part.send(part.request(Method::GET, url).header("Range", "bytes=3-5")).await?;
        assert_eq!((part.status, part.text.as_str()), (206, "345"));
        // The picture, the small one, the text.
        place.holds(3).await?;
        let backup = cast.stack.folder().join("backup.db").display().to_string();
        let told = cast.stack.command(&["backup", &backup])?.run().await?;
        ensure!(told.contains("2 attached files are not in it"), "{told}");
        cast.buyer.delete(&format!("/v1/messages/{}", id_of(&said)?)).await?.expect(204)?;
        place.holds(0).await?;
        for url in [&picture["url"], &picture["thumbnail_url"], &text["url"]] {
            assert_eq!(fetch(&cast, url).await?.0, 404);
        }
    }
    Ok(())
}

async fn b2_uploads_that_nobody_sends_are_gone_after_a_day(scene: &Scene) -> Result<()> {
    for (mut cast, place) in casts(scene).await? {
        let posts = format!("/v1/threads/{}/messages", cast.thread("p1").await?);
        let mut uploads = Vec::new();
        for name in ["sent.txt", "forgotten.txt", "fresh.txt"] {
            uploads.push(upload(&cast.buyer, name, name.as_bytes()).await?.expect(201)?);
        }
        let [sent, forgotten, fresh] = uploads.as_slice() else { anyhow::bail!("not three") };
        let draft = json!({"attachment_ids": [sent["id"]]});
        cast.buyer.post(&posts, draft).await?.expect(201)?;
        for upload in [sent, forgotten] {
            let sql = "UPDATE attachments SET created_at = '2020-02-02 02:02:02.000' WHERE id =";
            cast.stack.database.query(&format!("{sql} {}", upload["id"])).await?;
        }
        // It is looked for them when the API starts, and every minute.
        cast.stack.crash_api()?;
        cast.stack.api_ready().await?;
        place.holds(2).await?;
        assert_eq!(fetch(&cast, &forgotten["url"]).await?.0, 404);
        let draft = json!({"attachment_ids": [forgotten["id"]]});
        let problem = cast.buyer.post(&posts, draft).await?.refused(422, "invalid_request")?;
        assert_eq!(problem["errors"][0]["pointer"], "/attachment_ids/0");
        assert_eq!(fetch(&cast, &sent["url"]).await?.1, b"sent.txt");
        let draft = json!({"attachment_ids": [fresh["id"]]});
        cast.buyer.post(&posts, draft).await?.expect(201)?;
    }
    Ok(())
}

async fn b2_a_storage_that_is_down_is_told_and_what_is_to_go_goes_later(
    scene: &Scene,
) -> Result<()> {
    let mut storage = ObjectStorage::start(scene).await?;
    let mut cast = Cast::with(scene, storage.configure(Setup::new(scene)?)).await?;
    let thread = cast.thread("p1").await?;
    let (said, picture, _) = send_both(&cast, thread).await?;
    let (_, other, _) = send_both(&cast, thread).await?;
    storage.kill()?;

    upload(&cast.buyer, "a.txt", b"hello").await?.refused(503, "files_unavailable")?;
    let answer = cast.stack.anonymous()?.get(picture["url"].as_str().context("no url")?).await?;
    answer.refused(503, "files_unavailable")?;
    // Messages go on, and can be taken back.
    cast.seller.say(thread, "Nice!").await?;
    cast.buyer.delete(&format!("/v1/messages/{}", id_of(&said)?)).await?.expect(204)?;
    assert_eq!(fetch(&cast, &picture["url"]).await?.0, 404);

    storage.begin().await?;
    assert_eq!(fetch(&cast, &other["url"]).await?.0, 200, "without a restart of the API");
    let late = upload(&cast.buyer, "b.txt", b"hello").await?.expect(201)?;
    let draft = json!({"attachment_ids": [late["id"]]});
    let late =
        cast.buyer.post(&format!("/v1/threads/{thread}/messages"), draft).await?.expect(201)?;
    // What could not be removed goes with what is removed next, and at the next start.
    cast.buyer.delete(&format!("/v1/messages/{}", id_of(&late)?)).await?.expect(204)?;
    let place = Place::Bucket(Box::new(storage));
    place.holds(3).await?;
    let rows = "SELECT COUNT(*) FROM attachments";
    eventually("what never was kept is forgotten", PATIENCE, async || {
        Ok((cast.stack.database.number(rows).await? == 2).then_some(()))
    })
    .await?;
    let Place::Bucket(mut storage) = place else { anyhow::bail!("no bucket") };
    storage.kill()?;
    cast.shop.delete("/v1/users/buyer").await?.expect(204)?;
    storage.begin().await?;
    cast.stack.crash_api()?;
    cast.stack.api_ready().await?;
    Place::Bucket(storage).holds(0).await
}

async fn b6_files_go_with_the_person_and_with_age(scene: &Scene) -> Result<()> {
    for (mut cast, place) in casts(scene).await? {
        let (thread, old) = (cast.thread("p1").await?, cast.thread("p2").await?);
        let (said, picture, _) = send_both(&cast, thread).await?;
        upload(&cast.buyer, "never sent.txt", b"hello").await?.expect(201)?;
        let theirs = upload(&cast.seller, "bill.txt", b"of the seller").await?.expect(201)?;
        let draft = json!({"attachment_ids": [theirs["id"]]});
        cast.seller.post(&format!("/v1/threads/{old}/messages"), draft).await?.expect(201)?;
        place.holds(5).await?;
        cast.shop.delete("/v1/users/buyer").await?.expect(204)?;
        place.holds(1).await?;
        assert_eq!(fetch(&cast, &picture["url"]).await?.0, 404);
        assert_eq!(fetch(&cast, &theirs["url"]).await?.1, b"of the seller");
        let page = cast.seller.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
        assert_eq!(page["messages"][0]["id"], said["id"]);
        assert_eq!(page["messages"][0]["attachments"], json!([]));

        let long_ago = "UPDATE threads SET updated_at = '2020-02-02 02:02:02.000'";
        cast.stack.database.query(long_ago).await?;
        let days = json!({"retention_thread_days": 30});
        cast.shop.patch("/v1/settings", days).await?.expect(200)?;
        // The job runs when the API starts, and every ten minutes.
        cast.stack.crash_api()?;
        cast.stack.api_ready().await?;
        eventually("the bytes and the rows are gone", PATIENCE, async || {
            let rows = cast.stack.database.number("SELECT COUNT(*) FROM attachments").await?;
            Ok((rows == 0 && place.keys().await?.is_empty()).then_some(()))
        })
        .await?;
        assert_eq!(fetch(&cast, &theirs["url"]).await?.0, 404);
    }
    Ok(())
}
