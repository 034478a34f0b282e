//! Files of messages: sent, seen and fetched by whom; what pictures lose; what is refused; and when the bytes go.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use chaffer_tests::{
    Answer, Api, PATIENCE, Process, Scene, Setup, eventually, free_port, installed, repository,
    until,
};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, product};
use crate::deployment::nginx;

stories!(
    b2_files_are_sent_with_a_message_and_seen_by_its_readers,
    b2_pictures_lose_where_they_were_taken,
    b2_a_file_that_lies_or_is_two_things_is_refused,
    b2_a_decompression_bomb_is_refused_within_bounded_memory,
    b2_addresses_of_files_are_signed_and_expire_and_keep_them_inert,
    b2_the_bytes_go_with_the_message,
    b2_an_answer_given_again_has_addresses_that_work,
    b2_addresses_are_whole_where_the_public_one_is_known,
    b2_pictures_of_every_kind_come_back_upright_and_nameless,
    b2_the_largest_files_pass_nginx,
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

fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
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
    let action = format!("{:3000}", "7 0 << /S /JavaScript /JS (app.alert(1)) >>");
    let action = packed(action.as_bytes())?;
    let hidden = [
        b"%PDF-1.7\n5 0 obj\n<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode >>\nstream\r\n",
        action.as_slice(),
        b"\nendstream\nendobj\n%%EOF",
    ]
    .concat();
    for (name, bytes, code) in [
        ("bill.pdf", &hidden[..], "file_ambiguous"),
        ("bill.pdf", b"%PDF-1.7 << /S %\n/JavaScript /JS (1) >>", "file_ambiguous"),
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
    let mut lying = bomb;
    lying.splice(16..24, [0, 0, 0, 8, 0, 0, 0, 8]);
    let mut crc = flate2::Crc::new();
    crc.update(lying.get(12..29).context("no head")?);
    lying.splice(29..33, crc.sum().to_be_bytes());
    upload(&cast.buyer, "lying.png", &lying).await?.refused(422, "image_too_large")?;
    // A colour profile that goes on and on, which is not unpacked to its end.
    let profile = [&b"x\0\0"[..], &packed(&vec![0; 40 << 20])?].concat();
    let colored = png(8, &chunk(b"iCCP", &profile))?;
    upload(&cast.buyer, "colored.png", &colored).await?.expect(201)?;
    // Objects of a PDF without end.
    let mut endless =
        b"%PDF-1.7\n5 0 obj\n<< /Type /ObjStm /Filter /FlateDecode >>\nstream\n".to_vec();
    endless.extend(packed(&vec![b' '; 65 << 20])?);
    upload(&cast.buyer, "endless.pdf", &endless).await?.refused(422, "file_ambiguous")?;
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
    eventually("the bytes and their rows are gone", PATIENCE, async || {
        let rows = cast.stack.database.number("SELECT COUNT(*) FROM attachments").await?;
        Ok((files()? == 0 && rows == 0).then_some(()))
    })
    .await?;
    let page = cast.seller.get(&format!("/v1/threads/{thread}/messages")).await?.expect(200)?;
    assert_eq!(page["messages"][0]["attachments"], json!([]));
    Ok(())
}

async fn b2_an_answer_given_again_has_addresses_that_work(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let posts = format!("/v1/threads/{}/messages", cast.thread("p1").await?);
    let mut files = Vec::new();
    for name in ["a.txt", "b.txt", "gone.txt"] {
        let sent = upload(&cast.buyer, name, name.as_bytes()).await?.expect(201)?;
        files.push(sent["id"].clone());
    }
    let buyer = cast.shop.acting("buyer");
    let once = async |path: &str, key: &str, body: &Value| {
        let request = buyer.request(Method::POST, path).header("Idempotency-Key", key);
        buyer.send(request.json(body)).await?.expect(201)
    };
    let start = json!({"subject": product("p2"), "vendor_id": "v1",
        "message": {"text": "and this?", "attachment_ids": [files[1]]}});
    let say = json!({"text": "this", "attachment_ids": [files[0], files[2]]});
    let said = once(&posts, "say", &say).await?;
    let started = once("/v1/threads", "start", &start).await?;
    // Years pass.
    let old = "UPDATE idempotency_keys SET answer = REPLACE(answer, 'expires=1', 'expires=0')";
    cast.stack.database.query(old).await?;
    let lost = format!("UPDATE attachments SET removed_at = created_at WHERE id = {}", files[2]);
    cast.stack.database.query(&lost).await?;

    let again = once(&posts, "say", &say).await?;
    assert_eq!((&again["id"], &again["text"]), (&said["id"], &said["text"]));
    assert_eq!(again["attachments"].as_array().map(Vec::len), Some(1), "{again}");
    assert_eq!(fetch(&cast, &again["attachments"][0]["url"]).await?.1, b"a.txt");
    let again = once("/v1/threads", "start", &start).await?;
    assert_eq!(again["id"], started["id"]);
    let files = &again["last_message"]["attachments"];
    assert_eq!(fetch(&cast, &files[0]["url"]).await?.1, b"b.txt");
    Ok(())
}

async fn b2_addresses_are_whole_where_the_public_one_is_known(scene: &Scene) -> Result<()> {
    let public = "https://shop.example/chat";
    let setup = Setup::new(scene)?.set("mail.public_url", format!("{public}/"));
    let cast = Cast::with(scene, setup).await?;
    let sent = upload(&cast.buyer, "a.png", &png(8, b"")?).await?.expect(201)?;
    for (field, part) in [("url", "file"), ("thumbnail_url", "thumbnail")] {
        let url = sent[field].as_str().context("no address")?;
        let path = url.strip_prefix(public).with_context(|| url.to_owned())?;
        ensure!(path.starts_with(&format!("/v1/attachments/{}/{part}?", sent["id"])), "{url}");
        assert_eq!(fetch(&cast, &json!(path)).await?.0, 200);
    }
    Ok(())
}

/// What Pillow sees in the files of a folder.
async fn look(scene: &Scene, folder: &std::path::Path) -> Result<BTreeMap<String, Value>> {
    let script = repository().join("tests/pictures/gallery.py").display().to_string();
    let look = Process::new(installed("python")?, scene.folder(), scene.folder().join("look.log"))
        .args([script, "look".into(), folder.display().to_string()]);
    Ok(serde_json::from_str(&look.run().await?)?)
}

async fn b2_pictures_of_every_kind_come_back_upright_and_nameless(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (made, kept) = (scene.new_folder("made")?, scene.new_folder("kept")?);
    let script = repository().join("tests/pictures/gallery.py").display().to_string();
    Process::new(installed("python")?, scene.folder(), scene.folder().join("make.log"))
        .args([script, "make".into(), made.display().to_string()])
        .run()
        .await?;
    let before = look(scene, &made).await?;
    ensure!(before.len() > 12, "{before:?}");
    for name in before.keys() {
        let answer = upload(&cast.buyer, name, &std::fs::read(made.join(name))?).await?;
        let sent = answer.expect(201).with_context(|| name.clone())?;
        let (status, bytes) = fetch(&cast, &sent["url"]).await?;
        ensure!(status == 200 && fetch(&cast, &sent["thumbnail_url"]).await?.0 == 200, "{name}");
        std::fs::write(kept.join(name), bytes)?;
        if name.starts_with("photo") {
            assert_eq!((&sent["width"], &sent["height"]), (&json!(40), &json!(60)), "{name}");
        }
    }
    let after = look(scene, &kept).await?;
    for (name, was) in &before {
        let is = &after[name];
        let is_photo = name.starts_with("photo");
        assert_eq!(
            (&was["has_exif"], &is["has_exif"]),
            (&json!(is_photo), &json!(false)),
            "{name}"
        );
        assert_eq!(is["has_secret"], false, "{name}");
        ensure!(!is_photo || was["has_secret"] == true, "{name}: {was}");
        let (width, height) = (&was["size"][0], &was["size"][1]);
        let size = if is_photo { json!([height, width]) } else { json!([width, height]) };
        assert_eq!(is["size"], size, "{name}");
        // What moves goes on moving as GIF; of the rest the first frame stays.
        let frames = if name.ends_with(".gif") { &was["frames"] } else { &json!(1) };
        assert_eq!(&is["frames"], frames, "{name}");
        let format = was["format"].as_str().unwrap_or_default();
        let expected = if format == "WEBP" { "JPEG" } else { format };
        assert_eq!(is["format"], expected, "{name}");
        // Deep greys are shown with fewer steps.
        for channel in (0..3).filter(|_| name != "deep.png") {
            let value = |seen: &Value| seen["colour"][channel].as_i64().unwrap_or(-99);
            ensure!((value(was) - value(is)).abs() < 12, "{name}: {was} {is}");
        }
    }
    Ok(())
}

async fn b2_the_largest_files_pass_nginx(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let largest = json!({"attachment_max_megabytes": 100});
    cast.shop.patch("/v1/settings", largest).await?.expect(200)?;
    let port = free_port()?;
    let mut nginx = nginx(&cast.stack, port)?;
    nginx.start()?;
    let shop = Api::new(&format!("http://127.0.0.1:{port}/chat"))?;
    until("nginx serves", async || Ok(shop.get("/readyz").await?.status == 200)).await?;
    let buyer = shop.with_bearer(&cast.buyer.token);
    // To the last byte what the setting allows; by one more the API's own answer, which says what to do.
    let mut bill = b"%PDF-1.4\n".to_vec();
    bill.resize(100 << 20, b' ');
    let sent = upload(&buyer, "bill.pdf", &bill).await?.expect(201)?;
    assert_eq!(sent["size"], 100 << 20);
    bill.push(b' ');
    upload(&buyer, "bill.pdf", &bill).await?.refused(413, "too_large")?;
    nginx.stop(PATIENCE).await?;
    Ok(())
}
