-- +goose Up
CREATE TABLE accounts (
    id      bigint PRIMARY KEY,
    balance bigint NOT NULL
);

-- +goose Down
DROP TABLE accounts;
