//! Files of messages: sent, seen and fetched by whom; what pictures lose; what is refused; and when the bytes go.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Api, PATIENCE, Scene, eventually};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of};

stories!(
    b2_files_are_sent_with_a_message_and_seen_by_its_readers,
    b2_pictures_lose_where_they_were_taken,
    b2_a_file_that_lies_or_is_two_things_is_refused,
    b2_a_decompression_bomb_is_refused_within_bounded_memory,
    b2_addresses_of_files_are_signed_and_expire_and_keep_them_inert,
    b2_the_bytes_go_with_the_message,
);

/// The form that a browser sends, and its type.
fn form(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    let head = format!(
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    body.extend(head.as_bytes());
    body.extend(bytes);
    body.extend(b"\r\n--XX--\r\n");
    ("multipart/form-data; boundary=XX".to_owned(), body)
}

pub(crate) async fn upload(api: &Api, name: &str, bytes: &[u8]) -> Result<Answer> {
    let (kind, body) = form(name, bytes);
    let request = api.request(Method::POST, "/v1/attachments");
    api.send(request.header("Content-Type", kind).body(body)).await
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    let mut chunk = u32::try_from(data.len()).unwrap_or(0).to_be_bytes().to_vec();
    chunk.extend(kind);
    chunk.extend(data);
    chunk.extend(crc.sum().to_be_bytes());
    chunk
}

/// A grey PNG (RFC 2083) of so many pixels a side, with what else is to stand before the pixels.
pub(crate) fn png(side: u32, extra: &[u8]) -> Result<Vec<u8>> {
    let mut head = [side.to_be_bytes(), side.to_be_bytes()].concat();
    head.extend([8, 0, 0, 0, 0]);
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    let row = vec![0; usize::try_from(side)? + 1];
    for _ in 0..side {
        pixels.write_all(&row)?;
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend(chunk(b"IHDR", &head));
    png.extend(extra);
    png.extend(chunk(b"IDAT", &pixels.finish()?));
    png.extend(chunk(b"IEND", b""));
    Ok(png)
}

/// Exif (CIPA DC-008) with an orientation, and a GPS directory that says where.
fn exif() -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    tiff.extend([0, 2]);
    // Orientation: turned to the right.
    tiff.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0]);
    // The GPS directory at 38.
    tiff.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38]);
    tiff.extend([0, 0, 0, 0]);
    // GPSLatitudeRef and GPSMapDatum, which nobody else writes.
    tiff.extend([0, 2]);
    tiff.extend([0, 1, 0, 2, 0, 0, 0, 2, b'N', 0, 0, 0]);
    tiff.extend([0, 18, 0, 2, 0, 0, 0, 12, 0, 0, 0, 68]);
    tiff.extend([0, 0, 0, 0]);
    tiff.extend(b"SECRET-PLACE");
    tiff
}

/// The bytes at an address, and the answer's status.
pub(crate) async fn fetch(cast: &Cast, url: &Value) -> Result<(u16, Vec<u8>)> {
    let url = url.as_str().context("no address")?;
    let api = cast.stack.anonymous()?;
    let answer = api.request(Method::GET, url).send().await?;
    Ok((answer.status().as_u16(), answer.bytes().await?.to_vec()))
}

/// Width and height, as the head of a PNG says.
fn size_of_png(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((number(16)?, number(20)?))
}

async fn b2_files_are_sent_with_a_message_and_seen_by_its_readers(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let posts = format!("/v1/threads/{thread}/messages");
    let listener = cast.seller.listen().await?;
    let mug = upload(&cast.buyer, "../my mug\u{202e}.png", &png(600, b"")?).await?.expect(201)?;
    assert_eq!((&mug["name"], &mug["mime_type"]), (&json!("my mug.png"), &json!("image/png")));
    assert_eq!((&mug["width"], &mug["height"]), (&json!(600), &json!(600)));
    let bill = upload(&cast.buyer, "bill.pdf", b"%PDF-1.4\nhello\n%%EOF").await?.expect(201)?;
    assert_eq!((&bill["size"], &bill["thumbnail_url"]), (&json!(20), &Value::Null));

    let ids = json!([mug["id"], bill["id"]]);
    // Nobody sends what somebody else uploaded.
    let draft = json!({"text": "mine", "attachment_ids": ids});
    let problem = cast.seller.post(&posts, draft).await?.refused(422, "invalid_request")?;
    assert_eq!(problem["errors"][0]["pointer"], "/attachment_ids/0");
    let draft = json!({"attachment_ids": ids, "client_id": "c-1"});
    let said = cast.buyer.post(&posts, draft.clone()).await?.expect(201)?;
    assert_eq!(said["text"], "");
    let again = cast.buyer.post(&posts, draft).await?.expect(200)?;
    assert_eq!(again["id"], said["id"]);
    let heard = listener.hears("message.created", |data| data["id"] == said["id"]).await?;
    let page = cast.seller.get(&posts).await?.expect(200)?;
    let list = cast.boss.get("/v1/threads").await?.expect(200)?;
    for message in [&said, &heard, &page["messages"][0], &list["threads"][0]["last_message"]] {
        let files = message["attachments"].as_array().context("no attachments")?;
        assert_eq!(files.len(), 2, "{message}");
        assert_eq!((&files[0]["id"], &files[1]["name"]), (&mug["id"], &json!("bill.pdf")));
        let (status, bytes) = fetch(&cast, &files[1]["url"]).await?;
        assert_eq!((status, bytes.as_slice()), (200, &b"%PDF-1.4\nhello\n%%EOF"[..]));
        let (status, bytes) = fetch(&cast, &files[0]["thumbnail_url"]).await?;
        ensure!(status == 200 && bytes.starts_with(b"\xff\xd8\xff"), "{status}");
    }
    // Once only, and no more than the shop allows.
    let draft = json!({"text": "again", "attachment_ids": [mug["id"]]});
    cast.buyer.post(&posts, draft).await?.refused(422, "invalid_request")?;
    let few = json!({"attachments_per_message": 1, "attachment_types": "images"});
    cast.shop.patch("/v1/settings", few).await?.expect(200)?;
    let two = [
        upload(&cast.buyer, "a.png", &png(8, b"")?).await?.expect(201)?["id"].clone(),
        upload(&cast.buyer, "b.png", &png(8, b"")?).await?.expect(201)?["id"].clone(),
    ];
    let draft = json!({"attachment_ids": two});
    cast.buyer.post(&posts, draft).await?.refused(422, "invalid_request")?;
    upload(&cast.buyer, "a.txt", b"hello").await?.refused(422, "file_type_not_allowed")?;
    let none = json!({"attachment_types": "none"});
    cast.shop.patch("/v1/settings", none).await?.expect(200)?;
    upload(&cast.buyer, "a.png", &png(8, b"")?).await?.refused(403, "attachments_off")?;
    // Who may not see messages sends no files, either.
    upload(&cast.clerk, "a.png", &png(8, b"")?).await?.refused(403, "manage_messages_required")?;
    upload(&cast.stack.anonymous()?, "a.png", b"x").await?.refused(401, "unauthenticated")?;
    listener.check()
}

async fn b2_pictures_lose_where_they_were_taken(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let text = chunk(b"tEXt", b"Author\0SECRET-PERSON");
    let extra = [chunk(b"eXIf", &exif()), text].concat();
    let mut picture = png(40, &extra)?;
    // What stands behind the end goes, too.
    picture.extend(b"SECRET-TRAILER");
    let sent = upload(&cast.buyer, "photo.png", &picture).await?.expect(201)?;
    for url in [&sent["url"], &sent["thumbnail_url"]] {
        let (status, bytes) = fetch(&cast, url).await?;
        assert_eq!(status, 200);
        for secret in ["SECRET", "eXIf", "Exif", "tEXt"] {
            let found = bytes.windows(secret.len()).any(|it| it == secret.as_bytes());
            ensure!(!found, "{secret} is still in {url}");
        }
        assert_eq!(
            size_of_png(&bytes).filter(|_| bytes.starts_with(b"\x89PNG")).unwrap_or((40, 40)),
            (40, 40)
        );
    }
    Ok(())
}

async fn b2_a_file_that_lies_or_is_two_things_is_refused(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let picture = png(8, b"")?;
    let archive = [&picture[..], b"PK\x03\x04 evil PK\x05\x06\0\0"].concat();
    let script = png(8, &chunk(b"tEXt", b"Comment\0<script>alert(1)</script>"))?;
    for (name, bytes, code) in [
        ("photo.jpg", &picture[..], "file_type_mismatch"),
        ("bill.pdf", &picture, "file_type_mismatch"),
        ("photo.png.exe", &picture, "file_type_mismatch"),
        ("photo.png", &archive, "file_ambiguous"),
        ("photo.png", &script, "file_ambiguous"),
        ("page.txt", b"<!doctype html><script>1</script>", "file_ambiguous"),
        ("bill.pdf", b"%PDF-1.4 PK\x05\x06", "file_ambiguous"),
        ("setup.pdf", b"MZ\x90\0\x03\0\0", "file_type_not_allowed"),
        ("photo.png", b"\x89PNG\r\n\x1a\nbroken", "file_unreadable"),
        ("empty.txt", b"", "file_empty"),
    ] {
        let answer = upload(&cast.buyer, name, bytes).await?;
        answer.refused(422, code).with_context(|| name.to_owned())?;
    }
    let json = cast.buyer.post("/v1/attachments", json!({})).await?;
    json.refused(415, "unsupported_media_type")?;
    let small = json!({"attachment_max_megabytes": 1});
    cast.shop.patch("/v1/settings", small).await?.expect(200)?;
    let large = upload(&cast.buyer, "a.txt", &vec![b'a'; 2 << 20]).await;
    // Refused before it is read to its end, so the connection may break first.
    ensure!(large.is_err() || large.is_ok_and(|answer| answer.status == 413));
    // Nothing of all this stays on the disk.
    let uploads = cast.stack.folder().join("data/files/uploads");
    eventually("no upload is left", PATIENCE, async || {
        Ok((std::fs::read_dir(&uploads)?.count() == 0).then_some(()))
    })
    .await
}

/// The most memory that the API has ever taken, in KiB (proc(5)).
fn most_memory(cast: &Cast) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cast.stack.api.pid()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

async fn b2_a_decompression_bomb_is_refused_within_bounded_memory(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    upload(&cast.buyer, "a.png", &png(8, b"")?).await?.expect(201)?;
    let before = most_memory(&cast)?;
    // 900 million pixels in less than 5 MB.
    let bomb = png(30_000, b"")?;
    ensure!(bomb.len() < 5 << 20, "{} bytes", bomb.len());
    upload(&cast.buyer, "bomb.png", &bomb).await?.refused(422, "image_too_large")?;
    // One whose head says little and whose pixels go on and on.
    let mut lying = png(3000, b"")?;
    lying.splice(16..24, [0, 0, 0, 8, 0, 0, 0, 8]);
    let mut crc = flate2::Crc::new();
    crc.update(lying.get(12..29).context("no head")?);
    lying.splice(29..33, crc.sum().to_be_bytes());
    upload(&cast.buyer, "lying.png", &lying).await?;
    let grown = most_memory(&cast)?.saturating_sub(before);
    ensure!(grown < 64 << 10, "took {grown} KiB more");
    Ok(())
}

async fn b2_addresses_of_files_are_signed_and_expire_and_keep_them_inert(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let sent = upload(&cast.buyer, "notes.txt", "Grüße".as_bytes()).await?.expect(201)?;
    let url = sent["url"].as_str().context("no address")?;
    let api = cast.stack.anonymous()?;
    let answer = api.get(url).await?;
    assert_eq!((answer.status, answer.text.as_str()), (200, "Grüße"));
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
        ("cross-origin-resource-policy", "same-site"),
        ("content-disposition", "attachment; filename=\"notes.txt\"; filename*=UTF-8''notes.txt"),
        ("accept-ranges", "bytes"),
        ("content-length", "7"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    ensure!(answer.header("cache-control").is_some_and(|it| it.starts_with("private, max-age=")));
    let part = api.send(api.request(Method::GET, url).header("Range", "bytes=1-2")).await?;
    assert_eq!((part.status, part.text.as_str()), (206, "r\u{fffd}"));
    assert_eq!(part.header("content-range"), Some("bytes 1-2/7"));
    let beyond = api.send(api.request(Method::GET, url).header("Range", "bytes=7-")).await?;
    assert_eq!(beyond.header("content-range"), Some("bytes */7"));
    beyond.refused(416, "range_not_satisfiable")?;

    // Whatever is changed of an address, it is none of ours any more.
    let (path, query) = url.split_once('?').context("no query")?;
    let expires = query.split(['=', '&']).nth(1).context("no time")?;
    let signature = query.rsplit('=').next().context("no signature")?;
    let past = expires.parse::<i64>()? - 7200;
    for (changed, status, code) in [
        (format!("{path}?expires={past}&signature={signature}"), 404, "attachment_not_found"),
        (
            format!(
                "{path}?expires={expires}&signature=00{}",
                signature.get(2..).context("short")?
            ),
            404,
            "attachment_not_found",
        ),
        (
            format!("{path}?expires={expires}&signature={}", signature.get(2..).context("short")?),
            404,
            "attachment_not_found",
        ),
        (url.replace("/file?", "/thumbnail?"), 404, "attachment_not_found"),
        (url.replace(&format!("/{}/", sent["id"]), "/999/"), 404, "attachment_not_found"),
        (path.to_owned(), 422, "invalid_request"),
    ] {
        api.get(&changed).await?.refused(status, code).with_context(|| changed.clone())?;
    }
    Ok(())
}

async fn b2_the_bytes_go_with_the_message(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let folder = cast.stack.folder().join("data/files");
    let files = || -> Result<usize> {
        let mut count = 0;
        for entry in std::fs::read_dir(&folder)?.flatten() {
            count += std::fs::read_dir(entry.path())?.count();
        }
        Ok(count)
    };
    let sent = upload(&cast.buyer, "a.png", &png(8, b"")?).await?.expect(201)?;
    let draft = json!({"text": "look", "attachment_ids": [sent["id"]]});
    let said =
        cast.buyer.post(&format!("/v1/threads/{thread}/messages"), draft).await?.expect(201)?;
    assert_eq!(files()?, 2, "the picture and the small one");
    let reply = json!({"text": "nice", "reply_to": said["id"]});
    cast.seller.post(&format!("/v1/threads/{thread}/messages"), reply).await?.expect(201)?;
    cast.buyer.delete(&format!("/v1/messages/{}", id_of(&said)?)).await?.expect(204)?;
    for url in [&sent["url"], &sent["thumbnail_url"]] {
        assert_eq!(fetch(&cast, url).await?.0, 404);
    }
    eventually("the bytes are gone", PATIENCE, async || Ok((files()? == 0).then_some(()))).await?;
    let page = cast.seller.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    assert_eq!(page["messages"][0]["attachments"], json!([]));
    assert_eq!(cast.stack.database.number("SELECT COUNT(*) FROM attachments").await?, 0);
    Ok(())
}
