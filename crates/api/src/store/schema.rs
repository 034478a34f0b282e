//! The tables, as `migrations/` makes them in either database; one description serves both.

diesel::table! {
    counters (name) { name -> Text, value -> BigInt, }
}

diesel::table! {
    api_keys (hash) {
        hash -> Text,
        name -> Text,
        created_at -> Timestamp,
        revoked_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    vendors (id) {
        id -> Text,
        name -> Text,
        status -> Text,
        plan_includes_messaging -> Bool,
        avatar_url -> Nullable<Text>,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    users (id) {
        id -> Text,
        role -> Text,
        name -> Text,
        email -> Nullable<Text>,
        avatar_url -> Nullable<Text>,
        phone -> Nullable<Text>,
        locale -> Nullable<Text>,
        vendor_id -> Nullable<Text>,
        root -> Bool,
        manage_messages -> Bool,
        profiles -> Text,
        unread_total -> BigInt,
        mail_choice -> Text,
        revoked_before -> Nullable<Timestamp>,
        erased_at -> Nullable<Timestamp>,
        erasing_since -> Nullable<Timestamp>,
        last_seen_at -> Nullable<Timestamp>,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    threads (id) {
        id -> BigInt,
        subject_type -> Text,
        subject_id -> Text,
        subject_title -> Nullable<Text>,
        subject_url -> Nullable<Text>,
        subject_image_url -> Nullable<Text>,
        storefront_id -> Nullable<Text>,
        status -> Text,
        open_key -> Nullable<Text>,
        flagged -> Bool,
        last_message_id -> Nullable<BigInt>,
        activity -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
        facet -> SmallInt,
    }
}

diesel::table! {
    participants (thread_id, kind, participant_id) {
        thread_id -> BigInt,
        kind -> Text,
        participant_id -> Text,
        side -> Text,
        role -> Text,
        joined_at -> Timestamp,
        left_at -> Nullable<Timestamp>,
        last_read_message_id -> BigInt,
        activity -> BigInt,
    }
}

diesel::table! {
    messages (id) {
        id -> BigInt,
        thread_id -> BigInt,
        author_kind -> Text,
        author_id -> Text,
        side -> Text,
        text -> Text,
        reply_to -> Nullable<BigInt>,
        client_id -> Nullable<Text>,
        request_hash -> Nullable<Text>,
        flagged -> Bool,
        created_at -> Timestamp,
        edited_at -> Nullable<Timestamp>,
        deleted_at -> Nullable<Timestamp>,
        read_at -> Nullable<Timestamp>,
        system_entry -> Nullable<Text>,
        attachment_count -> SmallInt,
    }
}

diesel::table! {
    read_states (kind, reader_id, thread_id) {
        kind -> Text,
        reader_id -> Text,
        thread_id -> BigInt,
        last_read_message_id -> BigInt,
        unread_count -> BigInt,
        unread_activity -> Nullable<BigInt>,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        name -> Text,
        topics -> Text,
        thread_id -> Nullable<BigInt>,
        message_id -> Nullable<BigInt>,
        data -> Nullable<Text>,
        request_id -> Nullable<Text>,
        at -> Timestamp,
    }
}

diesel::table! {
    event_topics (topic, event_id) { topic -> Text, event_id -> BigInt, }
}

diesel::table! {
    idempotency_keys (caller, idempotency_key) {
        caller -> Text,
        idempotency_key -> Text,
        request_hash -> Text,
        status -> Integer,
        answer -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    consumers (name) { name -> Text, event_id -> BigInt, }
}

diesel::table! {
    mails (id) {
        id -> BigInt,
        user_id -> Text,
        thread_id -> Nullable<BigInt>,
        kind -> Text,
        state -> Text,
        first_message_id -> BigInt,
        last_message_id -> Nullable<BigInt>,
        read_position -> Nullable<BigInt>,
        due_at -> Timestamp,
        claimed_by -> Nullable<Text>,
        attempts -> Integer,
        reason -> Nullable<Text>,
        created_at -> Timestamp,
        ended_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    mail_refusals (address_hash) { address_hash -> Text, refused_at -> Timestamp, }
}

diesel::table! {
    mail_templates (audience, kind, language) {
        audience -> Text,
        kind -> Text,
        language -> Text,
        subject -> Text,
        text -> Text,
        html -> Text,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    forbidden_words (id) {
        id -> BigInt,
        kind -> Text,
        phrase -> Text,
        action -> Text,
        exceptions -> Text,
        plain -> Text,
        plain_hash -> Text,
        created_at -> Timestamp,
        updated_at -> Timestamp,
    }
}

diesel::table! {
    message_originals (message_id) {
        message_id -> BigInt,
        text -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    attachments (id) {
        id -> BigInt,
        owner_id -> Text,
        message_id -> Nullable<BigInt>,
        name -> Text,
        size -> BigInt,
        mime_type -> Text,
        width -> Nullable<Integer>,
        height -> Nullable<Integer>,
        file -> Text,
        thumbnail -> Nullable<Text>,
        secret -> Text,
        created_at -> Timestamp,
        removed_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    message_versions (message_id, version) {
        message_id -> BigInt,
        version -> Integer,
        text -> Text,
        original -> Nullable<Text>,
        flagged -> Bool,
        written_at -> Timestamp,
    }
}

diesel::table! {
    audit_log (id) {
        id -> BigInt,
        actor_id -> Nullable<Text>,
        action -> Text,
        target -> Text,
        data -> Nullable<Text>,
        request_id -> Text,
        at -> Timestamp,
    }
}

diesel::table! {
    settings (name) {
        name -> Text,
        value -> Text,
        changed_by -> Nullable<Text>,
        changed_at -> Timestamp,
    }
}

diesel::table! {
    search_blocks (epoch, token) { epoch -> BigInt, token -> Text, ids -> Binary, }
}

diesel::table! {
    search_changes (message_id) { message_id -> BigInt, indexed -> Text, }
}

diesel::table! {
    support_queue (thread_id) {
        thread_id -> BigInt,
        waiting_since -> Timestamp,
    }
}

diesel::joinable!(participants -> threads (thread_id));
diesel::joinable!(support_queue -> threads (thread_id));
diesel::joinable!(read_states -> threads (thread_id));
diesel::allow_tables_to_appear_in_same_query!(participants, read_states, support_queue, threads);

diesel::table! {
    webhooks (id) {
        id -> Text,
        url -> Text,
        description -> Nullable<Text>,
        events -> Text,
        secret -> Text,
        previous_secret -> Nullable<Text>,
        previous_until -> Nullable<Timestamp>,
        status -> Text,
        disabled_reason -> Nullable<Text>,
        position -> BigInt,
        created_at -> Timestamp,
        updated_at -> Timestamp,
        deleted_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    webhook_deliveries (id) {
        id -> BigInt,
        webhook_id -> Text,
        message_id -> Text,
        event -> Text,
        event_id -> Nullable<BigInt>,
        state -> Text,
        attempts -> Text,
        tries -> Integer,
        next_attempt_at -> Nullable<Timestamp>,
        created_at -> Timestamp,
    }
}
diesel::allow_tables_to_appear_in_same_query!(api_keys, users);
diesel::allow_tables_to_appear_in_same_query!(participants, users);
diesel::allow_tables_to_appear_in_same_query!(read_states, users);
