# Not run here: see main.tf.
output "address" {
  description = "What the domain's A record must say."
  value       = aws_eip.server.public_ip
}

output "bucket" {
  value = aws_s3_bucket.files.bucket
}

output "first_token" {
  description = "How to read the first admin token."
  value       = "ssh admin@${aws_eip.server.public_ip} sudo cat /var/lib/cogflare/admin-token"
}
