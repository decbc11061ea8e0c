-- +goose Up
comment on column readmodel.messages.album_part is 'A part of an album that is answered with another part of it: the first, or the one that has the words.';
