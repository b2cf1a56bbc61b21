#!/bin/sh
# nginx_twice.sh NGINX FOLDER: one nginx behind another, over a Unix socket, from FOLDER/nginx.conf.
set -e
nginx=$1 folder=$2
sed "s|^ *server [0-9][^;]*;|server unix:$folder/back.sock;|" "$folder/nginx.conf" >"$folder/front.conf"
sed -e "s|$folder/|$folder/back_|" -e "s|listen [^;]*;|listen unix:$folder/back.sock;|" \
  "$folder/nginx.conf" >"$folder/back.conf"
"$nginx" -p "$folder" -e stderr -c "$folder/back.conf" &
exec "$nginx" -p "$folder" -e stderr -c "$folder/front.conf"
