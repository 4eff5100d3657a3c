-- name: Create :exec
INSERT INTO accounts (id, balance) VALUES ($1, $2);

-- name: CreateMany :exec
INSERT INTO accounts (id, balance)
SELECT unnest(@ids::bigint[]), unnest(@balances::bigint[]);

-- name: Balance :one
SELECT balance FROM accounts WHERE id = $1;

-- name: Add :exec
UPDATE accounts SET balance = balance + @amount WHERE id = @id;

-- name: Delete :exec
DELETE FROM accounts WHERE id = $1;

-- name: All :many
SELECT id, balance FROM accounts ORDER BY id;
