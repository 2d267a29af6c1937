// Azurite with the storage accounts that ACCOUNTS_FILE names at the moment of each request; as published it reads
// them from the environment, once a minute.
"use strict";
const fs = require("fs");
const path = require("path");

const azurite = path.join(process.cwd(), "node_modules", "azurite", "dist", "src");
const store = require(path.join(azurite, "common", "AccountDataStore")).default;

store.prototype.getAccount = function (name) {
  const accounts = JSON.parse(fs.readFileSync(process.env.ACCOUNTS_FILE, "utf8"));
  const key = accounts[name];
  return key === undefined ? undefined : { name, key1: Buffer.from(key, "base64"), key2: undefined };
};

require(path.join(azurite, "blob", "main"));
